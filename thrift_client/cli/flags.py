"""Flags for all options of clients, generated from the table of options.

Each can also be set in a config file (its name with underscores) and in the environment
(THRIFT_CLIENT_ and its name in capitals). A flag overrides the environment, which overrides the
file, which overrides the option's default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import thrift_client
from thrift_client.cli import complete, durations
from thrift_client.cli.config import default_config, read_config
from thrift_client.cli.texts import (
    POLICIES,
    UNWRITTEN,
    HeaderType,
    OptionType,
    is_duration,
    meaning,
)
from thrift_client.cli.ui import click, nearest, option
from thrift_client.options import OPTIONS
from thrift_client.routing.named import BALANCERS, ROUTERS

F = TypeVar('F', bound=Callable[..., Any])

PREFIX = 'THRIFT_CLIENT_'

#: Flags with a short form of their own.
_SHORT = {'headers': '-H'}

#: What the options of pools mean; their defaults are in the pools' signatures.
_POOL_TEXTS = {
    'routing': f'how keys choose servers: {", ".join(ROUTERS)}',
    'failover': 'how many further servers may serve a call whose own server is unavailable',
    'replicas': 'how many servers hold each key',
    'max_threads': 'maximum threads of a pool',
    'balance': f'any server may serve any call, chosen by {", ".join(BALANCERS)}',
}
_POOL_TYPES: dict[str, Any] = {
    'routing': click.Choice(tuple(ROUTERS)),
    'balance': click.Choice(tuple(BALANCERS)),
}

#: TLS beyond ssl: what goes into the context.
_TLS_TEXTS = {
    'ca': "PEM file of the authorities to trust instead of the system's",
    'cert': "PEM file of the client's certificate",
    'cert_key': 'PEM file of its private key',
    'insecure': 'trust any certificate, for any name',
}


class Flag(NamedTuple):
    """One flag, as click and the table of options have it."""

    name: str
    default: Any
    text: str
    panel: str = 'Connection'

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return f'--{self.name.replace("_", "-")}'

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """Its default as it is written; empty if it has none."""
        if self.default is None or self.default is False or self.default in ((), ''):
            return ''
        if self.name in OPTIONS and is_duration(self.name):
            return durations.shown(self.default)
        return '' if self.name in POLICIES else str(self.default)


def client_rows() -> list[Flag]:
    """Return the flags that every client understands."""
    rows = []
    for name, option_row in OPTIONS.items():
        if name not in UNWRITTEN:
            panel, text = meaning(name)
            rows.append(Flag(name, option_row.default, text, panel))
    return [*rows, Flag('frame', False, 'the same as --transport framed')]


def tls_rows() -> list[Flag]:
    """Return the flags that make a TLS context."""
    return [Flag(name, None, text, 'TLS') for name, text in _TLS_TEXTS.items()]


def pool_rows() -> list[Flag]:
    """Return the further flags of pools."""
    parameters: dict[str, inspect.Parameter] = {}
    for kind in (thrift_client.HashClient, thrift_client.BalancedClient):
        parameters |= inspect.signature(kind.__init__).parameters
    return [
        Flag(name, None if name == 'balance' else parameters[name].default, text, 'Server pool')
        for name, text in _POOL_TEXTS.items()
    ]


def config_option(function: F) -> F:
    """Add --config, whose values are the defaults of the flags that `options` lists."""
    return option(
        '--config',
        envvar=f'{PREFIX}CONFIG',
        metavar='FILE',
        type=click.Path(),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help='a YAML file of options [config.yaml of thrift-client in $XDG_CONFIG_HOME]',
    )(function)


def client_options(function: F) -> F:
    """Add a flag for each option of clients."""
    for row in reversed(tls_rows()):
        if row.name == 'insecure':
            function = _option(row, is_flag=True, default=None)(function)
        else:
            function = _option(row, metavar='FILE', type=click.Path())(function)
    for row in reversed(client_rows()):
        function = _client_option(row)(function)
    return function


def pool_options(function: F) -> F:
    """Add a flag for each option of pools."""
    for row in reversed(pool_rows()):
        function = _option(row, type=_POOL_TYPES.get(row.name, int))(function)
    return function


def _client_option(row: Flag) -> Callable[[F], F]:
    if row.name == 'frame':
        return _option(row, is_flag=True, default=None)
    if row.name == 'ssl':
        return _option(row, is_flag=True, off='--no-ssl', default=None)
    if row.name == 'headers':
        return _option(row, type=HeaderType(), multiple=True, metavar=HeaderType.name)
    kind = OptionType(row.name)
    completed = complete.idempotent if row.name == 'idempotent' else None
    return _option(row, type=kind, metavar=kind.name, shell_complete=completed)


def _option(row: Flag, off: str | None = None, **settings: Any) -> Callable[[F], F]:
    """Return a flag for a row; `off` is the flag that says no."""
    text = f'{row.text} [{row.default_text}]' if row.default_text else row.text
    names = [f'{row.flag}/{off}' if off else row.flag]
    names += [_SHORT[row.name]] if row.name in _SHORT else []
    if isinstance(settings.get('type'), click.Choice):
        settings['metavar'] = 'NAME'
    settings |= {'envvar': row.variable, 'help': text, 'panel': row.panel}
    return option(*names, row.name, **settings)


def _read_config(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    found = read_config(path)
    known = _known()
    for name in found:
        if name not in known:
            hint = nearest(str(name), known) or '; `thrift-client options` lists those of the file'
            raise click.UsageError(f'{path or default_config()}: unknown option {name!r}{hint}')
    for param in ctx.command.params:
        if getattr(param, 'multiple', False) and isinstance(found.get(param.name), str):
            found[param.name] = [found[param.name]]
    if isinstance(found.get('headers'), dict):
        found['headers'] = list(found['headers'].items())
    ctx.default_map = {**(ctx.default_map or {}), **found}


def _known() -> set[str]:
    """Return the keys of a config file that all commands accept."""
    rows = (*client_rows(), *tls_rows(), *pool_rows())
    return {'service', 'server', 'gen_py', 'include', *(row.name for row in rows)}
