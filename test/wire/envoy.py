"""Envoy, as a process between the clients and the servers of a test."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request

import yaml

from docs.blocks import DOCS, blocks, replaced

#: How long it may take to listen, in seconds.
STARTS_WITHIN_S = 30


def documented():
    """Return the configuration that the documentation shows."""
    page = blocks(DOCS / 'howto' / 'envoy.md')
    return next(block.source for block in page if block.kind == 'yaml')


def configured(servers, *, cluster=None, proxy=None, runtime=None):
    """Make the documented configuration for some ports of servers, with a free port to listen at.

    Args:
        servers: the ports.
        cluster: what is different in the cluster.
        proxy: what is different in the Thrift proxy.
        runtime: what is set at run time.
    """
    text = replaced(documented(), {'9950': '0'})
    config = yaml.safe_load(text)
    config['admin'] = {'address': _address(0)}
    found = config['static_resources']
    (given,) = found['clusters']
    given['load_assignment']['endpoints'] = [
        {'lb_endpoints': [{'endpoint': {'address': _address(port)}} for port in servers]}
    ]
    given |= cluster or {}
    found['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config'] |= proxy or {}
    if runtime:
        layer = {'name': 'test', 'static_layer': runtime}
        config['layered_runtime'] = {'layers': [layer]}
    return config


def _address(port):
    return {'socket_address': {'address': '127.0.0.1', 'port_value': port}}


class Envoy:
    """Envoy with a configuration, as a context manager; `address` is where it listens.

    Args:
        executable: of Envoy.
        config: as `configured` makes it.
        folder: for its files.
    """

    def __init__(self, executable, config, folder):
        self._executable = executable
        self._config = config
        self._folder = folder
        self.address = None

    def __enter__(self):
        config, admin = self._folder / 'envoy.yaml', self._folder / 'admin'
        config.write_text(yaml.safe_dump(self._config))
        admin.unlink(missing_ok=True)
        self._log = (self._folder / 'envoy.log').open('w+')
        self._process = subprocess.Popen(
            [
                *(self._executable, '--config-path', config, '--admin-address-path', admin),
                *('--disable-hot-restart', '--concurrency', '2', '--log-level', 'warn'),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        until = time.monotonic() + STARTS_WITHIN_S
        while self.address is None:
            if self._process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise RuntimeError(f'Envoy did not start: {config.with_suffix(".log").read_text()}')
            time.sleep(0.01)
            if admin.exists() and (found := admin.read_text()):
                self.address = self._listens_at(found)
        return self

    def _listens_at(self, admin):
        with urllib.request.urlopen(f'http://{admin}/listeners?format=json') as answer:
            listeners = json.load(answer).get('listener_statuses')
        if not listeners:
            return None
        port = listeners[0]['local_address']['socket_address']['port_value']
        with urllib.request.urlopen(f'http://{admin}/ready') as answer:
            return f'127.0.0.1:{port}' if answer.read().startswith(b'LIVE') else None

    def __exit__(self, *exc_info):
        self._process.terminate()
        self._process.wait()
        self._log.close()
