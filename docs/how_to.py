"""Start what the examples of a page need: `make how-to PAGE=tls`, in a clone.

It starts the servers that the page's code connects to, on the ports that the page names, writes
the files that the code reads into a new folder, and starts Python in that folder, or a shell for
a page of commands. Everything is stopped and removed when that ends. Code can also be piped in:
`… PAGE=tls < my_code.py`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import ssl
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PATHS = [str(ROOT), str(ROOT / 'test'), str(ROOT / 'test' / 'gen-py')]
sys.path[:0] = PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = '127.0.0.1'
#: What listens at the ports that pages name.
SERVERS = {
    9901: {},
    9902: {},
    9903: {},
    9904: {},
    9920: {'services': ('KV', 'Stats')},
    9931: {'protocol': 'header'},
    9943: {'tls': ssl.CERT_NONE},
    9944: {'tls': ssl.CERT_REQUIRED},
    9950: {'transport': 'framed'},
    9980: {'server': 'http'},
    9083: {'store': 'the Hive Metastore'},
    9090: {'store': 'HBase'},
    10000: {'store': 'HiveServer2', 'login': True},
    10001: {'store': 'HiveServer2', 'server': 'http'},
    21050: {'store': 'HiveServer2'},
    21051: {'store': 'HiveServer2', 'login': True, 'tls': ssl.CERT_NONE},
}
#: A port at which nothing listens.
CLOSED = 9905
ZOOKEEPER = 2181
CERTIFICATES = ('ca.pem', 'client.pem', 'client.key')
IDL = 'kv.thrift'
#: What is in the files that commands read.
DATA = {
    'gets.ndjson': '{"key": "user:42"}\n',
    'keys.txt': 'user:1\nuser:42\n',
    'requests.ndjson': '{"key": "user:1", "value": "red"}\n{"key": "user:2", "value": "blue"}\n',
    'users.json': '{"id": "user:1", "name": "Ann"}\n{"id": "user:2", "name": "Bob"}\n',
}

_FENCE = re.compile(r'^```(\S+)[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def path_of(name: str) -> Path:
    """Return the page of a name such as `tls`, `tutorial` or `explain/fan-out`."""
    names = (f'{name.removesuffix(".md")}.md', f'howto/{name}.md', f'explain/{name}.md')
    for path in (DOCS / each for each in names):
        if path.is_file():
            return path
    known = ', '.join(sorted(path.stem for path in (DOCS / 'howto').glob('*.md')))
    raise SystemExit(f'Unknown page: {name!r}. Pages: index, quickstart, tutorial, {known}')


def is_for_a_shell(text: str) -> bool:
    """Tell whether a page has commands, and no Python."""
    kinds = {kind for kind, _ in _FENCE.findall(text)}
    return 'sh' in kinds and 'python' not in kinds


def code_of(text: str) -> str:
    """Return what a page executes: its Python and console blocks, or its commands."""
    kinds = ('sh',) if is_for_a_shell(text) else ('python', 'console')
    return ''.join(source for kind, source in _FENCE.findall(text) if kind in kinds)


def needs_of(text: str) -> tuple[list[int], list[str]]:
    """Return the ports and the files that the code of a page names."""
    code = code_of(text)
    # In commands, addresses of other hosts are examples, and names of files have no quotes.
    port_is, file_is = r'\b{}\b', "'{}'"
    if is_for_a_shell(text):
        port_is, file_is = r'localhost:{}\b', r'\b{}\b'
    known = *SERVERS, ZOOKEEPER, CLOSED
    ports = [port for port in known if re.search(port_is.format(port), code)]
    files = [name for name in (*CERTIFICATES, IDL, *DATA) if re.search(file_is.format(name), code)]
    return ports, files


@contextmanager
def started(text: str, folder: Path) -> Iterator[list[str]]:
    """Start the servers that a page's code names, and write its files into a folder.

    Yields one line for each. Raises OSError if a port is in use.
    """
    ports, files = needs_of(text)
    lines = []
    with ExitStack() as stack:
        authority = _authority(folder) if _wants_certificates(ports, files) else None
        if IDL in files:
            (folder / IDL).write_text(_idl())
        for name in DATA.keys() & files:
            (folder / name).write_text(DATA[name])
        for port in ports:
            if port == CLOSED:
                lines.append(f'localhost:{port}: nothing listens here')
            elif port == ZOOKEEPER:
                stack.enter_context(_zookeeper(folder))
                lines.append(f'localhost:{port}: ZooKeeper')
            else:
                try:
                    stack.enter_context(_serve(port, authority, **SERVERS[port]))
                except OSError as exc:
                    raise OSError(exc.errno, exc.strerror, f'localhost:{port}') from exc
                lines.append(f'localhost:{port}: {_described(**SERVERS[port])}')
        if files:
            lines.append(f'files: {", ".join(files)}')
        yield lines


def _wants_certificates(ports: list[int], files: list[str]) -> bool:
    return any(name in files for name in CERTIFICATES) or any(
        'tls' in SERVERS.get(port, {}) for port in ports
    )


def _described(
    protocol: str = 'binary',
    transport: str = 'buffered',
    server: str = 'threaded',
    services: tuple[str, ...] = (),
    tls: ssl.VerifyMode | None = None,
    store: str = '',
    login: bool = False,
) -> str:
    parts = [f'a stand-in for {store}' if store else 'a key-value server']
    parts += [f'protocol {protocol!r}'] if protocol != 'binary' else []
    parts += [transport] if transport != 'buffered' else []
    parts += ['HTTP'] if server == 'http' else []
    parts += [f'services {" and ".join(services)}'] if services else []
    parts += ['SASL PLAIN'] if login else []
    parts += ['TLS'] if tls == ssl.CERT_NONE else []
    parts += ['TLS with client certificates'] if tls == ssl.CERT_REQUIRED else []
    return ', '.join(parts)


def _authority(folder: Path) -> object:
    import trustme

    authority = trustme.CA()
    own = authority.issue_cert('client.test')
    authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
    own.private_key_pem.write_to_path(str(folder / 'client.key'))
    own.cert_chain_pems[0].write_to_path(str(folder / 'client.pem'))
    return authority


def _context(authority: object, tls: ssl.VerifyMode | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = tls
    authority.issue_cert('localhost').configure_cert(context)
    authority.configure_trust(context)
    return context


def _serve(port: int, authority: object, **kind: object) -> object:
    from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory

    from handlers import KeyValue
    from test_if import test_service
    from thrift_client.testing import serve

    context = _context(authority, kind.pop('tls', None))
    options = {'host': HOST, 'port': port, 'ssl': context}
    if store := kind.pop('store', ''):
        if kind.pop('login', False):
            from systems.hive_server import HiveServer

            return HiveServer(context, port)
        return serve(*_store(store), protocol=TBinaryProtocolFactory(), **options, **kind)
    if services := kind.pop('services', ()):
        return serve(_multiplexed(services), KeyValue(), **options)
    return serve(test_service, KeyValue(), **options, **kind)


def _store(name: str) -> tuple[object, object]:
    """Return the service of a database, and a handler of it."""
    from systems.stores import Metastore, Store

    if name == 'HBase':
        import happybase  # noqa: F401 - it makes the module
        from Hbase_thrift import Hbase

        return Hbase, Store()
    if name == 'the Hive Metastore':
        from pymetastore.hive_metastore import ThriftHiveMetastore

        return ThriftHiveMetastore, Metastore()
    from TCLIService import TCLIService

    from systems.hive_server import Hive

    return TCLIService, Hive()


def _multiplexed(names: tuple[str, ...]) -> object:
    """Return a service whose processor serves test_service under several names."""
    from thrift.TMultiplexedProcessor import TMultiplexedProcessor

    from test_if import test_service

    class Processor(TMultiplexedProcessor):
        def __init__(self, handler: object) -> None:
            super().__init__()
            for name in names:
                self.registerProcessor(name, test_service.Processor(handler))

    module = ModuleType('multiplexed')
    module.Iface, module.Client = test_service.Iface, test_service.Client
    module.Processor = Processor
    return module


@contextmanager
def _zookeeper(folder: Path) -> Iterator[None]:
    from discovery.helpers import ZOOKEEPER_JAR, ZooKeeper

    if not Path(ZOOKEEPER_JAR).exists():
        raise SystemExit('This page needs ZooKeeper: apt install zookeeper')
    server = ZooKeeper(folder)
    server.port = ZOOKEEPER
    with server:
        yield


def _idl() -> str:
    page = (DOCS / 'howto' / 'no-compiler.md').read_text()
    return next(source for kind, source in _FENCE.findall(page) if kind == 'thrift')


def environment() -> dict[str, str]:
    """Return the environment in which code finds the packages, and a shell `thrift-client`."""
    scripts = str(Path(sys.executable).parent)
    return os.environ | {
        'PYTHONPATH': os.pathsep.join(PATHS),
        'PATH': os.pathsep.join((scripts, os.environ.get('PATH', os.defpath))),
    }


def main() -> None:
    """Start what a page needs, then Python or a shell; stop everything when that ends."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        raise SystemExit('Missing page: make how-to PAGE=tls')
    path = path_of(sys.argv[1])
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for what is started
    try:
        text = path.read_text()
        name, command = 'Python', [sys.executable, '-q']
        if is_for_a_shell(text):
            name, command = 'shell', [os.environ.get('SHELL', 'sh')]
        with TemporaryDirectory() as folder, started(text, Path(folder)) as lines:
            if sys.stdin.isatty():
                print(f'For {path.relative_to(ROOT)}, until this {name} ends:', *lines, sep='\n  ')
            done = subprocess.run(command, cwd=folder, env=environment(), check=False)  # noqa: S603 - the user's own shell
    except ModuleNotFoundError as exc:
        command = f'make how-to PAGE={sys.argv[1]}'
        raise SystemExit(f'This page needs the module {exc.name}; {command} installs it') from None
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        hint = "End the program that uses this port, such as the README's server, and try again."
        raise SystemExit(f'{exc.filename}: {exc.strerror}. {hint}') from None
    sys.exit(done.returncode)


if __name__ == '__main__':
    main()
