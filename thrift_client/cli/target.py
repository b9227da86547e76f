"""The target of a command, from its flags: the service, the servers, a client or a pool."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from thrift.Thrift import TException

import thrift_client
from thrift_client import SimpleClient, ThriftPool
from thrift_client.cli import arguments, complete, flags, hints, output, safe, schema, service
from thrift_client.cli.exits import code_of
from thrift_client.cli.results import error_text
from thrift_client.cli.texts import Given
from thrift_client.cli.ui import click, option
from thrift_client.core.service import Method, Service
from thrift_client.options import OPTIONS

_SOURCES = ('zk:', 'etcd:', 'etcds:', 'dns:', 'srv:', 'file:')
_NAMED = re.compile(r'([A-Za-z0-9_.-]+)=(.+)')

#: What creating a client or a pool raises for invalid options.
_REFUSED = (ValueError, TypeError, ImportError, OSError)


class Failed(click.ClickException):
    """A call that raised: what to print, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code  # type: ignore[misc]


class ServerArgument(NamedTuple):
    """A server as `-a` names it: an address, perhaps with `name=` before it."""

    address: str
    name: str | None

    @classmethod
    def of(cls, text: str) -> ServerArgument:
        """Read what follows `-a`."""
        named = _NAMED.fullmatch(text)
        return cls(named[2], named[1]) if named else cls(text, None)


class Target:
    """The flags of a command; clients and pools are created from it on demand."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def default(self, name: str, value: Any) -> None:
        """Set a client option if no flag, variable or file has set it."""
        if self._given.get(name) is None:
            self._given[name] = Given(value)

    def changed(self, given: dict[str, Any]) -> Target:
        """Return a target with some flags changed."""
        changed = Target({**self._given, **given})
        if 'service' not in given and 'service' in vars(self):
            changed.service = self.service  # what is loaded already
        return changed

    @property
    def names_service(self) -> bool:
        """Whether there is a -s."""
        return bool(self._given.get('service'))

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of --gen-py."""
        return tuple(self._given.get('gen_py') or ())

    @functools.cached_property
    def service(self) -> Service:
        """The service that `-s` names."""
        name = self._given.get('service')
        if not name:
            raise click.UsageError('Missing service: use -s FILE.thrift or -s MODULE')
        return service.load(name, self.includes, self.folders)

    @property
    def includes(self) -> tuple[str, ...]:
        """The folders of -I."""
        return tuple(self._given.get('include') or ())

    @property
    def service_name(self) -> str:
        """The value of `-s`; empty if there is none."""
        return self._given.get('service') or ''

    @functools.cached_property
    def servers(self) -> list[ServerArgument]:
        """The servers that `-a` names, at least one."""
        given = self._given.get('server') or ()
        if not given:
            raise click.UsageError('Missing server: use -a HOST:PORT')
        return [ServerArgument.of(text) for text in ([given] if isinstance(given, str) else given)]

    @property
    def source(self) -> str | None:
        """The discovery URL that replaces a list of servers."""
        urls = [s.address for s in self.servers if s.address.startswith(_SOURCES)]
        if urls and len(self.servers) > 1:
            raise click.UsageError('a discovery URL replaces the list of servers: give one -a')
        return urls[0] if urls else None

    @property
    def one_server(self) -> bool:
        """Whether one server is called, and not a pool."""
        return len(self.servers) == 1 and self.source is None and not self._given.get('balance')

    @property
    def is_keyed(self) -> bool:
        """Whether a flag says that keys choose the servers."""
        given = self._given
        return any(given.get(name) for name in ('routing', 'failover', 'replicas'))

    def options(self) -> dict[str, Any]:
        """Return the client options that were given."""
        options = {
            name: value.value
            for name, value in self._given.items()
            if name in OPTIONS and isinstance(value, Given)
        }
        if self._given.get('headers'):
            options['headers'] = dict(self._given['headers'])
        if self._given.get('ssl') is not None:
            options['ssl'] = self._given['ssl'] or None
        if self._given.get('frame'):
            options['frame'] = True
        if isinstance(options.get('idempotent'), frozenset):
            options['idempotent'] = frozenset(map(self._method, options['idempotent']))
        if isinstance(options.get('timeouts'), dict):
            named = {self._method(name): limit for name, limit in options['timeouts'].items()}
            options['timeouts'] = named
        return options | self._tls()

    def _method(self, name: str) -> str:
        """Return the name in Python of the method that a flag names; an unknown one unchanged."""
        method = arguments.method_named(self.service, name)
        return name if method is None else method.name

    def pool_options(self) -> dict[str, Any]:
        """Return the options of pools that were given."""
        names = [row.name for row in flags.pool_rows()]
        return {name: self._given[name] for name in names if self._given.get(name) is not None}

    def client(self) -> SimpleClient:
        """Return a client of the one server. A usage error for more of them."""
        if not self.one_server:
            raise click.UsageError('this takes one server: give one -a')
        server = self.servers[0]
        try:
            client: SimpleClient = SimpleClient(
                self.service.module, server.address, name=server.name, **self.options()
            )
        except _REFUSED as exc:
            raise _refused(exc) from exc
        return client

    def pool(self, kind: str, **more: Any) -> Any:
        """Return a pool, of a class of thrift_client, with all servers; `more` are its options.

        A usage error for invalid options or servers.
        """
        made: Any = None
        try:
            if self.source is not None:
                _show_what_discovery_logs()
                more['servers'] = self.source
            made = getattr(thrift_client, kind)(self.service.module, **more, **self.options())
            if self.source is None:
                for server in self.servers:
                    made.add_server(server.address, name=server.name)
        except _REFUSED as exc:
            if made is not None:
                made.close()
            raise _refused(exc) from exc
        return made

    def keyed_pool(self, method: Method | None = None, key: str | None = None) -> Any:
        """Create the pool for calls: routed by `key` (arguments of `method`), or by load."""
        given = self.pool_options()
        balance = given.pop('balance', None)
        if balance:
            return self.pool('BalancedClient', balance=balance)
        pool: Any = self.pool('HashClient', **given)
        if method is not None and key is not None:
            set_key(pool, method, key)
        return pool

    def caller(
        self, method: Method | None = None, key: str | None = None
    ) -> SimpleClient | ThriftPool:
        """Return a client of the one server, or the pool of several."""
        return self.client() if self.one_server else self.keyed_pool(method, key)

    def load_caller(self, method: Method, key: str | None) -> SimpleClient | ThriftPool:
        """Return the same, but a pool balances unless a flag asks for routing by key."""
        if self.one_server or key is not None or self.is_keyed or self._given.get('balance'):
            return self.caller(method, key)
        balanced: ThriftPool = self.pool('BalancedClient')
        return balanced

    def _tls(self) -> dict[str, Any]:
        given = self._given
        files = [given.get(name) for name in ('ca', 'cert', 'cert_key')]
        if not any(files) and not given.get('insecure'):
            return {}
        import ssl

        ca, cert, key = files
        if key and not cert:
            raise click.UsageError('--cert-key goes with --cert')
        used = ca
        try:
            context = ssl.create_default_context(cafile=ca)
            if cert:
                used = f'{cert} with {key}' if key else cert
                context.load_cert_chain(cert, key)
        except (OSError, ValueError) as exc:
            raise click.UsageError(f'cannot use {used}: {exc}') from exc
        if given.get('insecure'):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return {'ssl': context}


def set_key(pool: Any, method: Method, key: str) -> None:
    """Have a hash pool place calls of a method by the arguments that `--key` names."""
    positions = []
    for name in map(str.strip, key.split(',')):
        parameter = arguments.parameter_named(method, name)
        if parameter is None:
            known = ', '.join(field.idl_name for field in schema.arguments_of(method))
            raise click.UsageError(
                f'--key: {method.name} has no argument {name!r} (it has {known or "none"})'
            )
        positions.append(method.parameters.index(parameter))
    if len(positions) == 1:
        pool.set_hash(method.name, lambda *given: given[positions[0]])
    else:
        pool.set_hash(method.name, lambda *given: tuple(given[i] for i in positions))


def _refused(exc: Exception) -> click.UsageError:
    return click.UsageError(hints.for_shell(str(exc)))


class _Printer(logging.Handler):
    """Prints records on standard error, without the control characters of a registry."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record on one line."""
        output.echo(safe.line(f'{record.levelname}: {record.getMessage()}'), error=True)


_printer = _Printer()


def _show_what_discovery_logs() -> None:
    """Print on standard error why a source names no servers."""
    logging.getLogger('thrift_client.discovery').addHandler(_printer)


def with_target(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the flags of these kinds, and their values as a Target.

    Kinds: 'service', 'servers', 'client', 'pool'.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = set(inspect.signature(function).parameters)

        @functools.wraps(function)
        def run(**given: Any) -> Any:
            rest = {name: value for name, value in given.items() if name not in own}
            try:
                return function(Target(rest), **{n: v for n, v in given.items() if n in own})
            except TException as exc:
                # click's context managers would change it, and gen-py's exceptions are
                # immutable.
                raise Failed(error_text(exc), code_of(exc)) from None

        decorated: Any = run
        if 'pool' in kinds:
            decorated = flags.pool_options(decorated)
        if 'client' in kinds:
            decorated = flags.client_options(decorated)
        decorated = flags.config_option(decorated)
        if 'servers' in kinds:
            decorated = server_option(decorated)
        return service_options(decorated) if 'service' in kinds else decorated

    return decorate


def server_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -a."""
    return option(
        '-a',
        '--server',
        'server',
        multiple=True,
        metavar='[NAME=]ADDRESS',
        envvar=f'{flags.PREFIX}SERVER',
        shell_complete=complete.servers,
        help='host:port, unix:/path or a URL; several for a pool, or one discovery URL',
    )(function)


def folder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -I and --gen-py."""
    function = option(
        '--gen-py',
        'gen_py',
        multiple=True,
        metavar='DIR',
        type=click.Path(),
        envvar=f'{flags.PREFIX}GEN_PY',
        help='a folder that `thrift --gen py` wrote; ./gen-py is searched, too',
    )(function)
    return option(
        '-I',
        '--include',
        'include',
        multiple=True,
        metavar='DIR',
        type=click.Path(),
        envvar=f'{flags.PREFIX}INCLUDE',
        help='a folder to find included .thrift files in',
    )(function)


def service_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -s, -I and --gen-py."""
    return option(
        '-s',
        '--service',
        'service',
        metavar='SERVICE',
        envvar=f'{flags.PREFIX}SERVICE',
        shell_complete=complete.services,
        help='FILE.thrift, FILE.thrift:SERVICE, or a gen-py module (package.service)',
    )(folder_options(function))
