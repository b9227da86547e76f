"""Servers as real processes, which tests can kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

TEST = Path(__file__).parent
FORKING = ('forking', 'processpool')
FREE_WITHIN_S = 5
SEARCH_PATH = (TEST.parent, TEST, TEST / 'gen-py')


class ServerProcess:
    """`python -m thrift_client.testing` as a context manager.

    Args:
        kind, protocol, transport, service_name, workers: as thrift_client.testing.Server has them.
        service: the generated module.
        handler: module:Class.
        host: what to bind, or `unix:/path`.
        port: 0 is any free one; restart() keeps it.
        tls_cert, tls_key: PEM files; None is plain text.
    """

    def __init__(
        self,
        kind='threaded',
        protocol='binary',
        transport='buffered',
        service='test_if.test_service',
        handler='handlers:KeyValue',
        host='127.0.0.1',
        port=0,
        *,
        tls_cert=None,
        tls_key=None,
        service_name=None,
        workers=None,
    ):
        self.kind = kind
        self.host = host.removeprefix('unix:')
        self.port = None if host.startswith('unix:') else port
        self._options = {
            '--server': kind,
            '--protocol': protocol,
            '--transport': transport,
            '--service': service,
            '--handler': handler,
            '--host': host,
            '--tls-cert': tls_cert,
            '--tls-key': tls_key,
            '--service-name': service_name,
            '--workers': workers,
        }
        self._process = None

    @property
    def address(self):
        """`host:port` or `unix:/path`, as clients take it."""
        return f'unix:{self.host}' if self.port is None else f'{self.host}:{self.port}'

    @property
    def pid(self):
        """The process, for signals."""
        return self._process.pid

    def start(self):
        """Start the process and return once it listens."""
        options = {name: value for name, value in self._options.items() if value is not None}
        options['--port'] = self.port or 0
        self._process = subprocess.Popen(
            [
                *(sys.executable, '-m', 'thrift_client.testing'),
                *(f'{name}={value}' for name, value in options.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))},
        )
        word, _, port = self._process.stdout.readline().rpartition(' ')
        if not word.startswith('LISTENING'):
            self.kill()
            raise RuntimeError(f'the {self.kind} server did not start')
        self.port = None if self.port is None else int(port)
        return self

    def stop(self):
        """Let it close its connections and end; idempotent."""
        if self._process is not None:
            self._process.stdin.close()
            self._reap()

    def kill(self):
        """Kill it as a crash would, with SIGKILL; the kernel closes its connections."""
        if self._process is not None:
            self._process.kill()
            self._process.stdin.close()
            self._reap()

    def restart(self):
        """Stop it, if it still runs, and start it on the same port."""
        self.stop()
        return self.start()

    def _reap(self):
        # The end of its output is the end of all that it forked, too.
        with self._process.stdout as output:
            output.read()
        self._process.wait()
        self._process = None
        if self.kind in FORKING and self.port is not None:
            self._wait_for_its_forks()

    def _wait_for_its_forks(self):
        # As a process ends, its output is closed before its socket.
        until = time.monotonic() + FREE_WITHIN_S
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)):
                    return
            time.sleep(0.001)
        raise RuntimeError(f'{self!r} still listens after its end')

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    def __repr__(self):
        return f'<{self.kind} server process {self.address}>'
