"""Services of other packages as services of this one: thriftpy2's, and gen-py's with enums."""

from __future__ import annotations

from thrift_client.idl.classes import StructType, python_name
from thrift_client.idl.service import (
    IdlMethod,
    ServiceModule,
    make_service,
    message_classes,
    server,
)
from thrift_client.idl.shapes import generated_fields, shape_of, thriftpy2_fields
from thrift_client.idl.types import Shape, fill, has_members

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from thrift_client.idl.types import Field, Type


def is_thriftpy2(service: Any) -> bool:
    """Tell whether it is a service class of thriftpy2's."""
    return isinstance(service, type) and isinstance(getattr(service, 'thrift_services', None), list)


def from_thriftpy2(service: Any) -> ServiceModule:
    """Return a module for a service class of thriftpy2's; kept with the class."""
    found: ServiceModule | None = vars(service).get('__thrift_service__')
    if found is not None:
        return found
    shapes: dict[Any, Shape] = {}
    own = [name for name in service.thrift_services if f'{name}_args' in vars(service)]
    methods = [_thriftpy2_method(service, name, shapes) for name in own]
    _keep(shapes)
    parents = [from_thriftpy2(base) for base in service.__bases__ if is_thriftpy2(base)]
    module = ServiceModule(f'{service.__module__}.{service.__name__}', service.__doc__, None)
    namespace = {'__module__': service.__module__, '__qualname__': service.__name__}
    service.__thrift_service__ = make_service(module, methods, parents, namespace)
    return module


def _thriftpy2_method(service: Any, name: str, shapes: dict[Any, Shape]) -> IdlMethod:
    arguments = thriftpy2_fields(getattr(service, f'{name}_args'), shapes)
    result = getattr(service, f'{name}_result')
    returns, throws = _result(thriftpy2_fields(result, shapes))
    return IdlMethod(
        python_name(name), name, arguments, returns, throws, oneway=result.oneway
    )


def with_members(name: str, arguments: Any, result: Any) -> tuple[Any, Any]:
    """Return classes for a generated method's arguments and result that have enum members.

    They are gen-py's own if it has no enums, or doesn't say its types. `result` None is oneway.
    """
    shapes: dict[Any, Shape] = {}
    try:
        given = generated_fields(arguments, shapes)
        answers = () if result is None else generated_fields(result, shapes)
    except TypeError:
        return arguments, result
    _keep(shapes)
    if not any(has_members(field.type) for field in (*given, *answers)):
        return arguments, result
    returns, throws = _result(answers)
    method = IdlMethod(name, name, given, returns, throws, oneway=result is None)
    namespace = {'__module__': arguments.__module__, '__qualname__': 'members'}
    return message_classes(method, namespace)


def processor_with_members(generated: Any, methods: Iterable[tuple[str, str, Any, Any]]) -> Any:
    """Return a generated `Processor` whose handler gets and returns enum members.

    `methods` are (name, wire name, class of arguments, class of result) for each method.
    """
    servers = {}
    for name, wire_name, arguments, result in methods:
        if isinstance(arguments, StructType):  # otherwise it holds only plain values
            returns, throws = _result(() if result is None else shape_of(result).fields)
            fields = shape_of(arguments).fields
            method = IdlMethod(name, wire_name, fields, returns, throws, oneway=result is None)
            servers[wire_name] = server(method, arguments, result)

    class EnumProcessor(generated):
        def __init__(self, handler: Any) -> None:
            super().__init__(handler)
            self._processMap.update(servers)

    return EnumProcessor if servers else generated


def _result(fields: tuple[Field, ...]) -> tuple[Type | None, tuple[Field, ...]]:
    """Return the type of the value in a result class, and its exceptions."""
    success = next((field.type for field in fields if not field.id), None)
    return success, tuple(field for field in fields if field.id)


def _keep(shapes: dict[Any, Shape]) -> None:
    fill(shapes.values())
    for cls, shape in shapes.items():
        cls.__thrift_shape__ = shape
