"""The stub of a service: its own classes, and a class for each kind of client.

The classes with an underscore don't exist at run time. Type checkers see clients as instances
of them: `thrift_client.typed` says how they find them.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from thrift_client.cli import schema
from thrift_client.cli.commands import stub_types
from thrift_client.core.service import Method, Service

#: With an underscore: structs, which gen-py's module has, too, and methods may have these names.
_HEADER = """\
import builtins as _builtins
import collections.abc as _abc
import typing as _typing
import uuid as _uuid
from asyncio import Task as _Task
from concurrent.futures import Future as _Future

from thrift_client import typed as _typed, typed_aio as _typed_aio, typed_options as _options
from thrift_client.response import ThriftResponse as _ThriftResponse
"""


class Kind(NamedTuple):
    """A class of clients: its module, the type of its calls, and the type of `all`."""

    name: str
    home: str = 'thrift_client'
    gives: str = '{}'
    keyed: bool = False
    everyone: str = ''

    @property
    def waits(self) -> bool:
        """Whether calls are coroutines."""
        return self.home != 'thrift_client'

    @property
    def pool(self) -> bool:
        """Whether it has servers."""
        return self.gives != '{}'

    @property
    def iterator(self) -> str:
        """The type that gives responses one by one."""
        return '_abc.AsyncIterator' if self.waits else '_abc.Iterator'

    @property
    def future(self) -> str:
        """The type that `submit` returns."""
        return '_Task' if self.waits else '_Future'

    @property
    def seen(self) -> str:
        """The module of the class that type checkers see."""
        return '_typed_aio' if self.waits else '_typed'

    @property
    def simple(self) -> str:
        """The kind of its servers."""
        return '_AsyncSimpleClient' if self.waits else '_SimpleClient'


_ONE, _ALL = '_ThriftResponse[{}]', 'list[_ThriftResponse[{}]]'
_AIO = 'thrift_client.aio'

#: An `everyone` is defined before what refers to it.
KINDS = (
    Kind('SimpleClient'),
    Kind('ReplicatedClient', gives=_ALL),
    Kind('ThreadedReplicatedClient', gives=_ALL),
    Kind('HashClient', gives=_ONE, keyed=True, everyone='ReplicatedClient'),
    Kind('ThreadedHashClient', gives=_ONE, keyed=True, everyone='ThreadedReplicatedClient'),
    Kind('BalancedClient', gives=_ONE),
    Kind('AsyncSimpleClient', _AIO),
    Kind('AsyncReplicatedClient', _AIO, _ALL),
    Kind('AsyncHashClient', _AIO, _ONE, keyed=True, everyone='AsyncReplicatedClient'),
    Kind('AsyncBalancedClient', _AIO, _ONE),
)


def text(service: Service) -> str:
    """Return the stub of a service's module."""
    module = service.module.__name__
    methods = list(service.methods.values())
    types = [type_ for method in methods for type_ in schema.types_of(method)]
    lines = [_HEADER.rstrip()]
    lines += stub_types.imports(types, module)
    lines += [f'from {name} import *' for name in _star_imports(service)]
    body = _methods(methods, '{}') or ['    pass']
    lines += ['', "_P = _typing.TypeVar('_P')", '', 'class Iface:', *body]
    protocols = 'iprot: _typing.Any, oprot: _typing.Any'
    lines += ['', 'class Client(Iface):', _INIT.format(f'{protocols} = None')]
    lines += ['', 'class Processor:', _INIT.format('handler: _typing.Any')]
    lines += [f'    def process(self, {protocols}) -> _typing.Any: ...']
    for kind in KINDS:
        lines += ['', *_client(kind, methods)]
    return '\n'.join(lines) + '\n'


_PLACE = (
    'self, name: _builtins.str | None = ..., host: _builtins.str | None = ..., '
    'port: _builtins.int | None = ...'
)
_NEW = (
    'self, host: _builtins.str | None = ..., port: _builtins.int | None = ..., '
    'server: {}.Server | None = ..., name: _builtins.str | None = ..., *, '
    'weight: _builtins.float = ..., **options: _typing.Unpack[_options.ServerOptions]'
)
#: A method of the service may be called `property` or `overload`.
_PROPERTY = '    @_builtins.property'
_OVERLOAD = '    @_typing.overload'
#: The parameter for a method's name: no argument in an IDL can have this name.
_NAME = 'methodø'
_INIT = '    def __init__(self, {}) -> None: ...'


def _star_imports(service: Service) -> list[str]:
    """Return the module whose names gen-py's service module has, too: its ttypes."""
    ttypes = f'{service.module.__name__.rpartition(".")[0]}.ttypes'
    return [ttypes] if any(m.__name__ == ttypes for m in stub_types.modules_of(service)) else []


def _client(kind: Kind, methods: list[Method]) -> list[str]:
    """Return a class of clients, after the classes of its methods if those are objects."""
    base = getattr(import_module(kind.home), kind.name)
    own = [method for method in methods if not hasattr(base, method.name)]
    lines = []
    if kind.keyed and not kind.name.startswith('Threaded'):
        for method in own:
            lines += [*_keyed_method(kind, method), '']
    lines.append(f'class _{kind.name}({kind.seen}.{kind.name}):')
    if kind.keyed:
        lines += [f'    {m.name}: {_keyed_name(kind, m)}[_{kind.name}]' for m in own]
    else:
        lines += _methods(own, kind.gives, waits=kind.waits)
    if kind.everyone:
        lines += [_PROPERTY, f'    def all(self) -> _{kind.everyone}: ...']
    if kind.keyed:
        call = f'self, {_NAME}: _builtins.str, /, *args: _typing.Any, **kwargs: _typing.Any'
        lines += [
            f'    def server_for({call}) -> {kind.simple}: ...',
            f'    def servers_for({call}) -> _builtins.tuple[{kind.simple}, ...]: ...',
        ]
    if kind.pool:
        lines += [
            _PROPERTY,
            f'    def servers(self) -> _builtins.tuple[{kind.simple}, ...]: ...',
            f'    def get_server({_PLACE}) -> {kind.simple}: ...',
            f'    def random_server(self) -> {kind.simple}: ...',
            f'    def add_server({_NEW.format(kind.seen)}) -> {kind.simple}: ...',
            f'    def __iter__(self) -> _abc.Iterator[{kind.simple}]: ...',
        ]
    lines += _by_name(kind, 'call', kind.gives, methods, own)
    lines += _by_name(kind, 'submit', f'{kind.future}[{kind.gives}]', methods, own)
    if kind.gives == _ALL:
        lines += _by_name(kind, 'as_completed', f'{kind.iterator}[{_ONE}]', methods, own)
    if kind.gives == _ALL or kind.keyed:
        merged = _view('WaitOptions', '_typing.Any', '*, merge: _options.Merge, ')
        return [*lines, _OVERLOAD, merged, _OVERLOAD, _view('FanOptions', '_typing.Self')]
    return [*lines, _view('PerCallOptions', '_typing.Self')]


def _view(options: str, gives: str, more: str = '') -> str:
    """Return the definition of `with_options`; `more` is an argument that changes its result."""
    unpacked = f'**options: _typing.Unpack[_options.{options}]'
    return f'    def with_options(self, {more}{unpacked}) -> {gives}: ...'


def _keyed_name(kind: Kind, method: Method) -> str:
    return f'_{method.name}_keyed{"_async" if kind.waits else ""}'


def _keyed_method(kind: Kind, method: Method) -> list[str]:
    """Return the class of a method of a hash pool, which can be called and told its key."""
    fields = [stub_types.argument(field) for field in schema.arguments_of(method)]
    types = ', '.join(fields)
    several = f'tuple[{types or "()"}]'
    item = f'{types} | {several}' if len(fields) == 1 else several
    one = _ONE.format(stub_types.result(method, set()))
    return [
        f'class {_keyed_name(kind, method)}(_typing.Generic[_P]):',
        *_methods([method], kind.gives, waits=kind.waits, name='__call__'),
        *_methods([method], _ALL, waits=kind.waits, name='on_replicas'),
        f'    def map(self, items: _abc.Iterable[{item}]) -> {kind.iterator}[{one}]: ...',
        f'    def set_hash(self, function: _abc.Callable[[{types}], object]) -> _P: ...',
        '    def set_split(self, argument: str, merge: object = ...) -> _P: ...',
    ]


def _by_name(
    kind: Kind, name: str, gives: str, methods: list[Method], own: list[Method]
) -> list[str]:
    """Write a method that takes the name of the service's method to call."""
    begin = f'{"async " * (kind.waits and name == "call")}def'
    hidden = {method.name for method in own}
    text, rest = stub_types.builtin('str', hidden), '*args: _typing.Any, **kwargs: _typing.Any'
    lines = []
    for method in methods:
        arguments, result = _signature(method, gives, hidden)
        literal = f'_typing.Literal[{method.name!r}]'
        lines += [
            _OVERLOAD,
            f'    {begin} {name}(self, {_NAME}: {literal}, /{arguments}) -> {result}: ...',
        ]
    anything = '_typing.Any'
    if name != 'call':
        anything = gives.replace('list[', f'{stub_types.builtin("list", hidden)}[').format(anything)
    return [
        *lines,
        _OVERLOAD if lines else '',
        f'    {begin} {name}(self, {_NAME}: {text}, /, {rest}) -> {anything}: ...',
    ]


def _signature(method: Method, gives: str, hidden: set[str]) -> tuple[str, str]:
    """Return the arguments of a method, each after a comma, and what it returns."""
    fields = schema.arguments_of(method)
    required = len(fields) - len(method.defaults or ())
    arguments = ''.join(
        f', {field.name}: {stub_types.argument(field, hidden)}{" = ..." * (i >= required)}'
        for i, field in enumerate(fields)
    )
    given = gives.replace('list[', f'{stub_types.builtin("list", hidden)}[')
    return arguments, given.format(stub_types.result(method, hidden))


def _methods(
    methods: list[Method], gives: str, *, waits: bool = False, name: str | None = None
) -> list[str]:
    """Write definitions of methods; one named like a built-in type hides it from the others."""
    hidden = {method.name for method in methods} if name is None else set()
    lines = []
    for method in methods:
        arguments, result = _signature(method, gives, hidden)
        begin = 'async def' if waits else 'def'
        lines.append(f'    {begin} {name or method.name}(self{arguments}) -> {result}: ...')
    return lines

