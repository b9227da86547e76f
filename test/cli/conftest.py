"""Runs the command line as users do: as a process."""

import os
import subprocess
import sys

import pytest

from servers import SEARCH_PATH

TIMEOUT_S = 30


@pytest.fixture
def environment(tmp_path):
    """Give the environment of a user without a config file or any variable of ours."""
    kept = {name: value for name, value in os.environ.items() if 'THRIFT_CLIENT' not in name}
    return kept | {
        'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH)),
        'XDG_CONFIG_HOME': str(tmp_path / 'config'),
        'COLUMNS': '200',
    }


@pytest.fixture
def cli(environment, tmp_path):
    """Run a command in an empty folder; returns the completed process."""

    def run(*arguments, stdin='', env=None):
        return subprocess.run(
            [sys.executable, '-m', 'thrift_client', *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            cwd=tmp_path,
            env=environment | (env or {}),
            check=False,
        )

    return run


@pytest.fixture
def kv(cli, kv_server):
    """Run a command on test_service."""

    def run(command, *arguments, **options):
        target = ('-s', 'test_if.test_service', '-a', kv_server.address)
        return cli(command, *target, *arguments, **options)

    return run


@pytest.fixture
def rich(cli, rich_server):
    """Run a command on rich_service."""

    def run(command, *arguments, **options):
        target = ('-s', 'rich_if.rich_service', '-a', rich_server.address)
        return cli(command, *target, *arguments, **options)

    return run


@pytest.fixture
def unused_port():
    """Give a port of loopback where nobody listens, which stays bound until the end."""
    import socket

    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope='session')
def tls_files(tmp_path_factory):
    """Write a certificate, its key, and the authority of our own that issued it."""
    import trustme

    folder = tmp_path_factory.mktemp('tls')
    authority = trustme.CA()
    issued = authority.issue_cert('127.0.0.1', 'localhost')
    cert, key, ca = (folder / name for name in ('cert.pem', 'key.pem', 'ca.pem'))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return cert, key, ca
