"""What is known about a service, read once: its methods and how they look on the wire.

Services that were loaded from `.thrift` files look like modules of gen-py, and those of
thriftpy2 are made to.

The generated client is the authority. Each of its `send_…` methods is run once against a
protocol that only takes notes. That gives the wire name and the message type, whatever the
method is called in Python; the classes of arguments and result are found in the module that
defines it, so that inherited methods come from the parent service's module.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

from thrift.Thrift import TApplicationException, TException, TMessageType

from thrift_client.address import redacted_all
from thrift_client.mistakes import did_you_mean, of_service

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Method:
    """One method of a service: its names, its classes, and how to read its result."""

    __slots__ = (
        'accelerated',
        'answers',
        'arguments',
        'defaults',
        'doc',
        'exceptions',
        'function',
        'has_specs',
        'message_type',
        'name',
        'new_result',
        'oneway',
        'parameters',
        'result',
        'returns',
        'wire_name',
    )

    def __init__(self, name: str, function: Any, service: Any, complete: set[Any]) -> None:
        self.name = name
        self.function = function  # of Iface: signature, defaults, annotations
        self.doc: str | None = function.__doc__
        code = function.__code__
        self.parameters: tuple[str, ...] = code.co_varnames[1 : code.co_argcount]
        module = function.__globals__
        receiver = f'recv_{name}'  # unless another method has that name
        self.oneway = not hasattr(service.Client, receiver) or (
            hasattr(service.Iface, receiver) and f'{name}_result' not in module
        )
        self.wire_name, self.message_type = _sent_by(service, self)
        self.arguments = _class_of(module, name, self.wire_name, 'args')
        #: The defaults of the last arguments, those of the IDL.
        self.defaults = function.__defaults__ or _defaults_in(self.arguments)
        self.result: Any = None
        fields: tuple[str, ...] = ()
        if not self.oneway:
            self.result = _class_of(module, name, self.wire_name, 'result')
            fields = _fields(self.result)
        if 'IntEnum' in module:  # gen-py with enum classes, which the C extension doesn't support
            from thrift_client.idl.foreign import with_members

            self.arguments, self.result = with_members(name, self.arguments, self.result)
        # Not through `__init__`, which would only set what reading sets or leaves out.
        self.new_result = partial(object.__new__, self.result)
        self.returns = 'success' in fields and not _throws_success(self.result)
        self.exceptions = tuple(
            field for field in fields if field != 'success' or not self.returns
        )
        #: What a server may answer with instead of a value: everything else that a call raises
        #: is an error of this library, or from outside the call.
        self.answers = (TApplicationException, *self._declared())
        #: Whether all fields have ids of their own in the IDL; the C extension needs those.
        self.has_specs = _have_ids(self.arguments, complete) and (
            self.oneway or _have_ids(self.result, complete)
        )
        # Compilers before 0.12 described structs in a way that later C extensions refuse.
        self.accelerated = 'fix_spec' in module or hasattr(self.arguments, '__thrift_shape__')

    def __repr__(self) -> str:
        return f'<Method {self.name}({", ".join(self.parameters)})>'

    def _declared(self) -> list[type[BaseException]]:
        """Return the exception classes that the IDL declares."""
        if not self.exceptions:
            return []
        shape = getattr(self.result, '__thrift_shape__', None)
        if shape is not None:
            fields = [field for field in shape.fields if field.name in self.exceptions]
            return [field.type.shape.cls for field in fields]
        if not self.result.thrift_spec:  # a field without an id
            return [TException]
        rows = [row for row in self.result.thrift_spec if row and row[2] in self.exceptions]
        return [row[3][0] for row in rows]

    def exception_in(self, result: Any) -> BaseException | None:
        """Return the exception that a result holds instead of a value; None if it has a value."""
        if type(result) is Raised:
            raised: BaseException | None = result.exception
            return raised
        if self.returns and getattr(result, 'success', None) is not None:
            return None
        for field in self.exceptions:
            declared: BaseException | None = getattr(result, field, None)
            if declared is not None:
                return declared
        if self.returns:
            missing: BaseException = TApplicationException(
                TApplicationException.MISSING_RESULT, f'{self.name} failed: unknown result'
            )
            return missing
        return None


class Raised:
    """Takes the place of a result if the server answered with a TApplicationException."""

    __slots__ = ('exception',)

    def __init__(self, exception: Exception) -> None:
        self.exception = exception


class Service:
    """A service and its methods by name. `module` is what the user gave for it."""

    __slots__ = ('methods', 'module', 'name')

    def __init__(self, service: Any) -> None:
        module = as_module(service)
        _check(module)
        self.module = service
        self.name = module.__name__.rpartition('.')[2]
        complete: set[Any] = set()
        self.methods = {
            name: Method(name, function, module, complete)
            for name, function in _functions(module)
        }

    @property
    def accelerated(self) -> bool:
        """Whether the C extension can encode and decode all of it."""
        return all(method.accelerated for method in self.methods.values())

    def __repr__(self) -> str:
        return f'<Service {self.name}: {", ".join(self.methods)}>'


_services: dict[Any, Service] = {}


def service_of(service: Any) -> Service:
    """Return the service of a gen-py module, of a loaded one, or of a thriftpy2 class.

    Read on first use and kept. Raises TypeError for anything else. Two threads that are first
    at the same time read it twice and keep the same one.
    """
    known = _services.get(service) if isinstance(service, (ModuleType, type)) else None
    return known or _services.setdefault(service, Service(service))


def as_module(service: Any) -> Any:
    """Return the service as a gen-py module; for a thriftpy2 class, one is made."""
    if isinstance(getattr(service, 'thrift_services', None), list):
        from thrift_client.idl.foreign import from_thriftpy2

        return from_thriftpy2(service)
    return service


def bind_functions(
    service: Service, template: str, kind: str = 'def', **names: Any
) -> dict[str, Callable[..., Any]]:
    """Return a function for each method, with the signature and the doc of the generated one.

    `template` is the body after the arguments object has been made, as the name
    `argumentsø`; it may use `{values}` (the tuple of the arguments), `methodø`, and what
    else `names` gives it. `kind` 'async def' makes coroutine functions.
    Written as source because that gives exact signatures and TypeErrors at the cost of
    a plain function; `*args, **kwargs` would be bound by hand in each call.
    """
    return {
        method.name: _compile(method, template, kind, names)
        for method in service.methods.values()
    }


def _compile(
    method: Method, template: str, kind: str, names: dict[str, Any]
) -> Callable[..., Any]:
    parameters = ''.join(f', {name}' for name in method.parameters)
    lines = [f'{kind} {method.name}(self{parameters}):']
    scope = {'newø': object.__new__, 'classø': method.arguments, 'methodø': method, **names}
    for name, default in _mutable_defaults(method):
        from copy import deepcopy

        # A key function, or whoever gets the arguments, may change them.
        lines.append(f' if {name} is {name}ø: {name} = deepcopyø({name})')
        scope |= {f'{name}ø': default, 'deepcopyø': deepcopy}
    lines.append(' argumentsø = newø(classø)')
    lines += [f' argumentsø.{name} = {name}' for name in method.parameters]
    values = ''.join(f'{name}, ' for name in method.parameters)
    lines.append(' ' + template.format(values=f'({values})'))
    exec('\n'.join(lines), scope)  # noqa: S102 - names from the generated module alone
    function: Any = scope[method.name]
    function.__doc__ = method.doc
    function.__defaults__ = method.defaults
    function.__annotations__ = dict(getattr(method.function, '__annotations__', {}))
    function.__module__ = method.function.__module__
    return function  # type: ignore[no-any-return]


def _mutable_defaults(method: Method) -> Iterator[tuple[str, Any]]:
    """Yield the names and the defaults of the arguments whose default is not a simple value."""
    defaults = method.defaults or ()
    for name, default in zip(method.parameters[-len(defaults) :], defaults, strict=False):
        if not isinstance(default, (bool, int, float, str, bytes)):
            yield name, default


_EXPECTED = (
    'a module generated by `thrift --gen py` (such as shop.Orders), a service from '
    "thrift_client.load('shop.thrift'), or a service class from thriftpy2.load"
)


def _check(module: Any) -> None:
    missing = [name for name in ('Iface', 'Client', 'Processor') if not hasattr(module, name)]
    if not isinstance(module, ModuleType) or missing:
        raise TypeError(f'service must be {_EXPECTED}, not {_given(module)}')
    # The kinds for other frameworks have clients that are made from a transport or a channel.
    first = getattr(module.Client.__init__, '__code__', _check.__code__).co_varnames[1:2]
    if first != ('iprot',):
        raise TypeError(
            f'{module.__name__} was generated for another framework: service must be what '
            '`thrift --gen py` writes without the options twisted and tornado'
        )


def _given(service: Any) -> str:
    """Describe what was given for a service, and what was probably meant."""
    cls = service if isinstance(service, type) else type(service)
    if cls.__name__ in {'Iface', 'Client', 'Processor'} and cls is not ModuleType:
        name = cls.__module__.rpartition('.')[2]
        return f'{name}.{cls.__name__}; did you mean {cls.__module__}?'
    if isinstance(service, ModuleType):
        inner = [
            name for name, value in vars(service).items()
            if (isinstance(value, ModuleType) and hasattr(value, 'Iface'))
            or isinstance(getattr(value, 'thrift_services', None), list)
        ]
        known = ' or '.join(f'{service.__name__}.{name}' for name in inner)
        return f'the module {service.__name__}{did_you_mean(known)}'
    meant = ''
    if isinstance(service, str) and service.endswith('.thrift'):
        meant = f'a service from thrift_client.load({service!r})'
    elif isinstance(service, (str, list, tuple)):
        return repr(redacted_all(service)) + of_service(service)
    return repr(service) + did_you_mean(meant)


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the methods of a service, inherited ones first, each in the order of the IDL.

    An `Iface` of zope.interface is not a class: the generated client has the same methods.
    """
    is_class = isinstance(module.Iface, type)
    members = {
        name: value
        for cls in reversed((module.Iface if is_class else module.Client).__mro__)
        for name, value in vars(cls).items()
    }
    for name, value in members.items():
        special = name.startswith('__') and name.endswith('__') and not name.endswith('___')
        if special or not hasattr(value, '__code__'):
            continue
        if is_class or hasattr(module.Client, f'send_{name}'):
            yield name, value


def _defaults_in(arguments: Any) -> tuple[Any, ...] | None:
    """Return the defaults of the last arguments: the longest tail that all have one.

    gen-py has them only in the class of the arguments, where None means that there is none.
    """
    defaults: tuple[Any, ...] = getattr(vars(arguments).get('__init__'), '__defaults__', ()) or ()
    count = 0
    while count < len(defaults) and defaults[-1 - count] is not None:
        count += 1
    return defaults[len(defaults) - count :] or None


def _class_of(module: dict[str, Any], name: str, wire_name: str, kind: str) -> Any:
    """Return `getk_args` or `getk_result`, named after the method as the IDL has it."""
    found = module.get(f'{wire_name}_{kind}') or module.get(f'{name}_{kind}')
    if found is None:
        raise TypeError(f'{module["__name__"]} has no {wire_name}_{kind}: not complete gen-py')
    return found


def _fields(result: Any) -> tuple[str, ...]:
    """Return the fields of a result class, in the order in which the generated client looks."""
    init = vars(result).get('__init__')
    return init.__code__.co_varnames[1 : init.__code__.co_argcount] if init else ()


def _have_ids(cls: Any, complete: set[Any]) -> bool:
    """Tell whether all fields of a class, and of the structs in it, have ids of their own.

    If one has none, gen-py's `thrift_spec` is empty (before compiler 0.17 it is None). With that,
    the C extension sends and receives nothing, without an error. `complete` are the classes that
    are known to have ids; those found are added.
    """
    todo, seen = [cls], {cls}
    while todo:
        cls = todo.pop()
        spec = cls.thrift_spec
        if spec is None or (not spec and _fields(cls)):
            return False
        if hasattr(cls, '__thrift_shape__'):
            continue  # its spec is None, too, if that of a struct in it is
        parts = [row[3] for row in spec if row]
        while parts:
            part = parts.pop()
            if isinstance(part, tuple) and not isinstance(part[0], type):
                parts += part  # what a container holds
            elif isinstance(part, list) and part[0] not in seen:
                seen.add(part[0])
                if part[0] not in complete:
                    todo.append(part[0])
    complete |= seen
    return True


def _throws_success(result: Any) -> bool:
    """Tell whether `success` is a declared exception: a value has the id 0."""
    return any(row[2] == 'success' and row[0] for row in result.thrift_spec or () if row)


class _Notes(Exception):
    """Ends a generated `send_…` once it has said what it sends."""


class _NoteTaker:
    """A protocol that takes notes of the message header."""

    trans = None

    def writeMessageBegin(self, name: str, message_type: int, _seqid: int) -> None:
        """Raise `_Notes` with the message's name and type."""
        raise _Notes(name, message_type)


def _sent_by(service: Any, method: Method) -> tuple[str, int]:
    """Return the name and the type of the message that calls a method."""
    sender = f'send_{method.name}'
    if hasattr(service.Iface, sender):  # another method, in place of what sends the message
        return method.name, TMessageType.ONEWAY if method.oneway else TMessageType.CALL
    try:
        client = service.Client(_NoteTaker())
        getattr(client, sender)(*[None] * len(method.parameters))
    except _Notes as notes:
        wire_name, message_type = notes.args
        return wire_name, message_type
    raise TypeError(f'{service.Client!r} is not a generated client: {sender} sends nothing')
