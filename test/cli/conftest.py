"""Runs the command line: by a function call in this process, or as a real process."""

import contextlib
import io
import os
import socket
import ssl
import subprocess
import sys
from subprocess import CompletedProcess

import pytest
import trustme

from handlers import KeyValue
from servers import SEARCH_PATH
from test_if import test_service

TIMEOUT_S = 30

# It looks once whether it prints to a terminal, which in this process it never does.
with contextlib.redirect_stdout(io.StringIO()):
    import thrift_client.cli.app


@pytest.fixture
def environment(tmp_path):
    """Give the environment of a user without a config file."""
    return os.environ | {
        'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH)),
        'XDG_CONFIG_HOME': str(tmp_path / 'config'),
        'COLUMNS': '200',
    }


@pytest.fixture
def cli(environment, tmp_path, monkeypatch):
    """Run a command in this process and an empty folder; returns what a process would."""

    def run(*arguments, stdin='', env=None):
        streams = {name: io.TextIOWrapper(io.BytesIO(), 'utf-8') for name in ('stdout', 'stderr')}
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            patch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(stdin.encode()), 'utf-8'))
            patch.setattr(sys, 'argv', ['thrift-client', *map(str, arguments)])
            patch.setattr(sys, 'path', [*sys.path])
            patch.chdir(tmp_path)
            for name, value in (environment | (env or {})).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                thrift_client.cli.main()
        assert isinstance(ended.value.code, int)
        return CompletedProcess(arguments, ended.value.code, *map(_written, streams.values()))

    return run


def _written(stream):
    stream.flush()
    return stream.buffer.getvalue().decode()


@pytest.fixture
def process(environment, tmp_path):
    """Run a command in a process and an empty folder; returns the completed process."""

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
def kv_servers(thrift_server):
    """Run four empty test_service servers in this process."""
    return [thrift_server(test_service, KeyValue()) for _ in range(4)]


@pytest.fixture
def unused_port():
    """Give a port of loopback where nobody listens, which stays bound until the end."""
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope='session')
def tls_files(tmp_path_factory):
    """Write a certificate, its key, and the certificate of the authority that issued it."""
    folder = tmp_path_factory.mktemp('tls')
    authority = trustme.CA()
    issued = authority.issue_cert('127.0.0.1', 'localhost')
    cert, key, ca = (folder / name for name in ('cert.pem', 'key.pem', 'ca.pem'))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return cert, key, ca


@pytest.fixture
def tls_context(tls_files):
    """Make the context of a server with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls_files[:2])
    return context


@pytest.fixture
def on_terminal(environment, tmp_path):
    """Run commands on terminals, in an empty folder."""
    terminal = pytest.importorskip('cli.terminal')  # its imports are not on every system
    with contextlib.ExitStack() as stack:
        state = {'XDG_STATE_HOME': str(tmp_path / 'state')}

        def run(*arguments, cwd=tmp_path, rows=50, columns=80, **variables):
            made = terminal.Terminal(arguments, environment | state | variables, cwd, columns, rows)
            stack.callback(made.close)
            return made

        yield run
