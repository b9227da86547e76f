"""Which part of a call's arguments can't be encoded, and why: the text of an EncodeError."""

from __future__ import annotations

from itertools import product

from thrift.Thrift import TType

from thrift_client.core.failures import ENCODING, is_foreign
from thrift_client.errors import EncodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.service import Method

_INTEGERS = {TType.BYTE: ('i8', 8), TType.I16: ('i16', 16), TType.I32: ('i32', 32),
             TType.I64: ('i64', 64)}  # fmt: skip
_KINDS = {TType.LIST: 'list', TType.SET: 'set', TType.MAP: 'dict'}
#: How deep to look: deeper values are refused for their depth.
_DEPTH = 64


def encode_error(method: Method, arguments: Any, exc: BaseException) -> EncodeError:
    """Return the error for arguments that could not be encoded, with the path to the fault."""
    kind = method.arguments  # of a loaded service, it is an attribute of the service's class
    service = (kind.__qualname__.rpartition('.')[0] or kind.__module__).rpartition('.')[2]
    fields = list(enumerate(filter(None, method.arguments.thrift_spec or ()), 1))
    # The C extension takes a str as binary: it is the fault only if there is no other.
    for binary, (position, field) in product(((bytes, str), bytes), fields):
        value = getattr(arguments, field[2], None)
        fault = None
        if value is not None:
            fault = _fault(value, field[1], field[3], field[2], _DEPTH, binary)
        if fault is not None:
            text = f'{fault} (argument {position} of {service}.{method.name})'
            break
    else:
        text = f'an argument of {service}.{method.name} cannot be encoded: {_in_words(exc)}'
    error = EncodeError(text)
    error.method = method.name
    return error


def _fault(value: Any, kind: int, args: Any, path: str, depth: int, binary: Any) -> str | None:
    """Return what is wrong with a value of the type that the IDL says; None if nothing is.

    `binary` are the classes whose instances a binary field may have.
    """
    try:
        return _fault_in(value, kind, args, path, depth, binary)
    except ENCODING as exc:  # of a value that can't even be inspected
        if is_foreign(exc):
            raise
        return f'{path} cannot be encoded: {_in_words(exc)}'


def _fault_in(value: Any, kind: int, args: Any, path: str, depth: int, binary: Any) -> str | None:
    if not depth:
        return f'{path} is nested too deeply'
    if kind in _INTEGERS:
        return _integer_fault(value, kind, path)
    if kind == TType.DOUBLE:
        return _double_fault(value, path)
    if kind == TType.BOOL:
        bool(value)  # which an array refuses
    if kind == TType.STRING:
        return _string_fault(value, args, path, binary)
    if kind == TType.STRUCT:
        return _struct_fault(value, args, path, depth, binary)
    if kind in _KINDS:
        return _container_fault(value, kind, args, path, depth, binary)
    return None


def _integer_fault(value: Any, kind: int, path: str) -> str | None:
    name, bits = _INTEGERS[kind]
    if not hasattr(value, '__index__'):
        return _wrong(value, 'int', path)
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        return f'{path} is out of range for {name}: {value}'
    return None


def _double_fault(value: Any, path: str) -> str | None:
    if not (hasattr(value, '__float__') or hasattr(value, '__index__')):
        return _wrong(value, 'a float', path)
    float(value)  # of an int that is too large, OverflowError
    return None


def _string_fault(value: Any, args: Any, path: str, binary: Any) -> str | None:
    if args == 'BINARY':
        return None if isinstance(value, binary) else _wrong(value, 'bytes', path)
    if not isinstance(value, str):
        return _wrong(value, 'str', path)
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        return f'{path} cannot be encoded in UTF-8: {value[exc.start]!r} at {exc.start}'
    return None


def _struct_fault(value: Any, args: Any, path: str, depth: int, binary: Any) -> str | None:
    cls, spec = args[:2]
    for field in filter(None, spec or ()):
        if not hasattr(value, field[2]):
            return _wrong(value, cls.__name__, path)
        inner = getattr(value, field[2])
        if inner is not None:
            fault = _fault(inner, field[1], field[3], f'{path}.{field[2]}', depth - 1, binary)
            if fault is not None:
                return fault
    return None


def _container_fault(
    value: Any, kind: int, args: Any, path: str, depth: int, binary: Any
) -> str | None:
    is_map = kind == TType.MAP
    if isinstance(value, (str, bytes)) or not hasattr(value, '__len__') or (
        not hasattr(value, 'items' if is_map else '__iter__')
    ):  # fmt: skip
        return _wrong(value, _KINDS[kind], path)
    places: list[tuple[Any, int, Any, str]] = []
    if is_map:
        for key, each in value.items():
            places.append((key, args[0], args[1], f'the key {key!r:.40} of {path}'))
            places.append((each, args[2], args[3], f'{path}[{key!r:.40}]'))
    else:
        name = '{}[{}]' if kind == TType.LIST else 'an element of {}'
        places = [(each, *args[:2], name.format(path, i)) for i, each in enumerate(value)]
    for each, element_kind, element_args, place in places:
        if each is None:
            return f'{place} is None'
        fault = _fault(each, element_kind, element_args, place, depth - 1, binary)
        if fault is not None:
            return fault
    return None


def _in_words(exc: BaseException) -> str:
    return f'{type(exc).__name__}: {exc}' if str(exc) else type(exc).__name__


def _wrong(value: Any, expected: str, path: str) -> str:
    return f'{path} must be {expected}, not {type(value).__name__}'
