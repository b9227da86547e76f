"""Services as modules that look like those of gen-py.

They have Iface, Client, Processor, and the classes of each method's arguments and result.
"""

from __future__ import annotations

import logging
from types import ModuleType

from thrift.Thrift import TApplicationException, TMessageType, TProcessor, TType
from thrift.transport.TTransport import TTransportException

from thrift_client.idl.classes import Struct, make_class
from thrift_client.idl.types import Field, Shape, Type, converter, fill

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

_log = logging.getLogger('thrift_client.idl')


class IdlMethod:
    """A method of a service, with its types. `returns` is None for void."""

    __slots__ = ('arguments', 'doc', 'name', 'oneway', 'returns', 'throws', 'wire_name')

    def __init__(
        self,
        name: str,
        wire_name: str,
        arguments: Sequence[Field],
        returns: Type | None,
        throws: Sequence[Field],
        *,
        oneway: bool = False,
        doc: str | None = None,
    ) -> None:
        self.name = name
        self.wire_name = wire_name
        self.arguments = arguments
        self.returns = returns
        self.throws = throws
        self.oneway = oneway
        self.doc = doc


class ServiceModule(ModuleType):
    """A service: an attribute of the module that `load` returned, and pickled by that."""

    def __init__(self, name: str, doc: str | None, origin: tuple[Any, ...] | None) -> None:
        super().__init__(name, doc)
        self.__thrift_origin__ = origin


class Interface:
    """The base of every `Iface`."""


class Client(Interface):
    """The base of every `Client`: calls over two protocols, as gen-py's clients make them."""

    def __init__(self, iprot: Any, oprot: Any = None) -> None:
        self._iprot = iprot
        self._oprot = iprot if oprot is None else oprot
        self._seqid = 0


class Processor(Interface, TProcessor):
    """The base of every `Processor`: serves requests by the methods of a handler."""

    #: What is in `_processMap`, by wire name.
    methods: dict[str, tuple[IdlMethod, Any, Any]] = {}  # noqa: RUF012 - each class has its own

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._processMap = {name: server(*each) for name, each in type(self).methods.items()}
        self._on_message_begin: Any = None

    def on_message_begin(self, func: Any) -> None:
        """Set a function that is called with the name, type and sequence id of each request."""
        self._on_message_begin = func

    def process(self, iprot: Any, oprot: Any) -> bool | None:
        """Serve one request."""
        name, message_type, seqid = iprot.readMessageBegin()
        if self._on_message_begin:
            self._on_message_begin(name, message_type, seqid)
        if name not in self._processMap:
            iprot.skip(TType.STRUCT)
            iprot.readMessageEnd()
            unknown = TApplicationException(
                TApplicationException.UNKNOWN_METHOD, f'Unknown function {name}'
            )
            _send(oprot, name, TMessageType.EXCEPTION, seqid, unknown)
            return None
        self._processMap[name](self, seqid, iprot, oprot)
        return True


def server(method: IdlMethod, arguments: Any, result_class: Any) -> Callable[..., None]:
    """Return the function that serves a method, like those in gen-py's `_processMap`."""

    def serve(processor: Any, seqid: int, iprot: Any, oprot: Any) -> None:
        given = arguments()
        arguments.read(given, iprot)  # an argument may have the name of a method
        iprot.readMessageEnd()
        message_type: int = TMessageType.REPLY
        result: Any = None if method.oneway else result_class()
        try:
            values = [getattr(given, field.name) for field in method.arguments]
            value = getattr(processor._handler, method.name)(*values)
            if method.returns is not None:
                result.success = value
        except TTransportException:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises is an answer
            message_type, result = _answer(method, exc, result)
        if not method.oneway:
            _send(oprot, method.wire_name, message_type, seqid, result)

    return serve


def _answer(method: IdlMethod, exc: Exception, result: Any) -> tuple[int, Any]:
    """Return a server's reply if the handler raised: a declared exception, or an error."""
    for field in method.throws:
        if isinstance(exc, field.type.shape.cls):  # type: ignore[union-attr]
            setattr(result, field.name, exc)
            return TMessageType.REPLY, result
    _log.error('%s failed', method.name, exc_info=exc)
    if isinstance(exc, TApplicationException):
        return TMessageType.EXCEPTION, exc
    error = TApplicationException(TApplicationException.INTERNAL_ERROR, 'Internal error')
    return TMessageType.EXCEPTION, error


def _send(protocol: Any, name: str, message_type: int, seqid: int, body: Any) -> None:
    protocol.writeMessageBegin(name, message_type, seqid)
    type(body).write(body, protocol)
    protocol.writeMessageEnd()
    protocol.trans.flush()


def _receive(protocol: Any, method: IdlMethod, result_class: Any) -> Any:
    """Read a reply; return its value or raise its exception."""
    _, message_type, _ = protocol.readMessageBegin()
    if message_type == TMessageType.EXCEPTION:
        error = TApplicationException()
        error.read(protocol)
        protocol.readMessageEnd()
        raise error
    result = result_class()
    result_class.read(result, protocol)
    protocol.readMessageEnd()
    if method.returns is not None and result.success is not None:
        return result.success
    for field in method.throws:
        if getattr(result, field.name) is not None:
            raise getattr(result, field.name)
    if method.returns is None:
        return None
    wrong = f'{method.name} failed: unknown result'
    raise TApplicationException(TApplicationException.MISSING_RESULT, wrong)


def make_service(
    module: ServiceModule,
    methods: Iterable[IdlMethod],
    parents: Sequence[Any],
    namespace: dict[str, Any],
) -> ServiceModule:
    """Fill the module of a service with these methods and those of its parents.

    `namespace` is put into the classes of arguments and results.
    """
    methods = list(methods)
    scope = vars(module)
    classes = {}
    for method in methods:
        classes[method.wire_name] = (method, *message_classes(method, namespace))
    for method, arguments, result in classes.values():
        scope[f'{method.wire_name}_args'] = arguments
        if result is not None:
            scope[f'{method.wire_name}_result'] = result
    inside = {'__module__': module.__name__}
    ifaces = tuple(parent.Iface for parent in parents) or (Interface,)
    functions, calls = _functions(methods, {**scope}, ifaces)
    clients = tuple(parent.Client for parent in parents) or (Client,)
    processors = tuple(parent.Processor for parent in parents) or (Processor,)
    inherited = {
        name: served for each in reversed(processors) for name, served in each.methods.items()
    }
    scope['Iface'] = type('Iface', ifaces, functions | inside)
    scope['Client'] = type('Client', (*clients, scope['Iface']), calls | inside)
    served = {'methods': inherited | classes}
    scope['Processor'] = type('Processor', (*processors, scope['Iface']), served | inside)
    return module


def message_classes(method: IdlMethod, namespace: dict[str, Any]) -> tuple[Any, Any]:
    """Return the classes of a method's arguments and of its result (None for oneway)."""
    arguments = _message_class(f'{method.wire_name}_args', method.arguments, namespace)
    if method.oneway:
        return arguments, None
    success = () if method.returns is None else (Field(0, 'success', method.returns),)
    result = _message_class(f'{method.wire_name}_result', (*success, *method.throws), namespace)
    for field in result.__thrift_shape__.fields:
        convert = converter(field.type)
        if convert is not None:
            # The C extension sets a result's attributes; nothing else runs afterwards.
            setattr(result, field.name, _converting(field.name, convert))
    return arguments, result


def _message_class(name: str, fields: Sequence[Field], namespace: dict[str, Any]) -> Any:
    shape = Shape(name)
    shape.fields = tuple(fields)
    qualname = f'{namespace["__qualname__"]}.{name}'
    cls: Any = make_class(shape, {**namespace, '__qualname__': qualname})
    fill([shape])
    cls.thrift_spec = shape.spec
    return cls


def _converting(name: str, convert: Callable[[Any], Any]) -> property:
    """Return an attribute that converts the numbers in its value to enum members."""

    def get(self: Struct) -> Any:
        return self.__dict__.get(name)

    def set_(self: Struct, value: Any) -> None:
        self.__dict__[name] = None if value is None else convert(value)

    return property(get, set_)


def _functions(
    methods: list[IdlMethod], scope: dict[str, Any], parents: tuple[Any, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the functions of Iface and of Client, as source: that gives exact signatures.

    Their globals are `scope`, with the classes of arguments and results as in gen-py; other
    names that they need are put there and not into the module. `parents` are inherited Ifaces.
    """
    helpers: dict[str, Any] = {'sendø': _send, 'receiveø': _receive}
    iface: list[str] = []
    calls: list[str] = []
    halves: list[str] = []
    for i, method in enumerate(methods):
        iface += _signature(i, method, helpers)
        call, half = _calls(i, method)
        calls.append(call)
        halves.append(half)
        helpers[f'method{i}ø'] = method
        helpers[f'arguments{i}ø'] = scope[f'{method.wire_name}_args']
        helpers[f'result{i}ø'] = scope.get(f'{method.wire_name}_result')
    functions: dict[str, Any] = {}
    client: dict[str, Any] = {}
    scope |= helpers
    exec('\n'.join(iface), scope, functions)  # noqa: S102 - names that the parser has checked
    exec('\n'.join([*halves, *calls]), scope, client)  # noqa: S102
    for method in methods:
        functions[method.name].__doc__ = client[method.name].__doc__ = method.doc
    for name in client.keys() - functions.keys():
        if any(hasattr(parent, name) for parent in parents):
            del client[name]  # half a call, which would hide an inherited method
    return functions, client


def _signature(number: int, method: IdlMethod, helpers: dict[str, Any]) -> list[str]:
    parameters = []
    optional = len(method.arguments)
    while optional and method.arguments[optional - 1].default is not None:
        optional -= 1  # in Python, only the last arguments can have defaults
    for i, field in enumerate(method.arguments):
        default = ''
        if i >= optional:
            default = f'=default{number}_{i}ø'
            helpers[default[1:]] = field.default
        parameters.append(f', {field.name}{default}')
    return [f'def {method.name}(self{"".join(parameters)}): pass']


def _calls(number: int, method: IdlMethod) -> tuple[str, str]:
    """Return the sources of a method of Client, and of its two halves as in gen-py.

    It doesn't call these: other methods may have their names, also in a service that extends this.
    """
    names = [field.name for field in method.arguments]
    parameters = ''.join(f', {name}' for name in names)
    message_type = TMessageType.ONEWAY if method.oneway else TMessageType.CALL
    send = (
        f' sendø(self._oprot, {method.wire_name!r}, {message_type}, self._seqid, '
        f'arguments{number}ø({", ".join(names)}))'
    )
    receive = f' return receiveø(self._iprot, method{number}ø, result{number}ø)'
    head = f'(self{parameters}):\n{send}'
    if method.oneway:
        return f'def {method.name}{head}', f'def send_{method.name}{head}'
    return (
        f'def {method.name}{head}\n{receive}',
        f'def send_{method.name}{head}\ndef recv_{method.name}(self):\n{receive}',
    )
