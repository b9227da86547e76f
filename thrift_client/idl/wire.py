"""Reads and writes structs on protocols without the C extension, by their shapes.

One reader and one writer for all classes: those that were loaded, thriftpy2's, and gen-py's
with enums. They call the protocol exactly as generated code does.
"""

from __future__ import annotations

from operator import index, methodcaller

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TFrozenDict, TType
from thrift.transport.TTransport import CReadableTransport

from thrift_client.idl.types import UUID, Shape, Type, members_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Read = Callable[[Any], Any]
    Write = Callable[[Any, Any], Any]

_CALLS = {
    TType.BOOL: 'Bool',
    TType.I08: 'Byte',
    TType.I16: 'I16',
    TType.I32: 'I32',
    TType.I64: 'I64',
    TType.DOUBLE: 'Double',
    TType.STRING: 'String',
    UUID: 'Uuid',
}


def decode(shape: Shape, value: Any, protocol: Any) -> None:
    """Read a struct's fields into an instance, with the C extension if possible."""
    if (
        protocol._fast_decode is not None
        and shape.spec is not None
        and isinstance(protocol.trans, CReadableTransport)
    ):
        protocol._fast_decode(value, protocol, shape.details)
        if shape.walkers is not None:
            shape.walkers[0](value)
    else:
        for name, field in read_fields(shape, protocol).items():
            setattr(value, name, field)


def decode_new(shape: Shape, protocol: Any) -> Any:
    """Read a struct whose fields can't be set; return a new instance."""
    if (
        protocol._fast_decode is not None
        and shape.spec is not None
        and isinstance(protocol.trans, CReadableTransport)
    ):
        value = protocol._fast_decode(None, protocol, shape.details)
        return value if shape.walkers is None else shape.walkers[0](value)
    return shape.factory(**read_fields(shape, protocol))


def encode(shape: Shape, value: Any, protocol: Any) -> None:
    """Write a struct, with the C extension if possible."""
    if protocol._fast_encode is not None and shape.spec is not None:
        protocol.trans.write(protocol._fast_encode(value, shape.details))
    else:
        write_struct(shape, value, protocol)


def read_fields(shape: Shape, protocol: Any) -> dict[str, Any]:
    """Read a struct in Python; return the fields that are set, by name."""
    readers = shape.readers
    if readers is None:
        readers = shape.readers = _readers_of(shape)
    fields = {}
    deeper = getattr(protocol, 'increment_recursion_depth', _nothing)
    deeper()
    try:
        protocol.readStructBegin()
        while True:
            _, code, number = protocol.readFieldBegin()
            if code == TType.STOP:
                break
            known, name, read = readers.get(number) or _UNKNOWN
            if known == code:
                fields[name] = read(protocol)
            else:
                protocol.skip(code)
            protocol.readFieldEnd()
        protocol.readStructEnd()
    finally:
        if deeper is not _nothing:
            protocol.decrement_recursion_depth()
    return fields


def write_struct(shape: Shape, value: Any, protocol: Any) -> None:
    """Write a struct in Python."""
    writers = shape.writers
    if writers is None:
        writers = shape.writers = _writers_of(shape)
    deeper = getattr(protocol, 'increment_recursion_depth', _nothing)
    deeper()
    try:
        protocol.writeStructBegin(shape.name)
        for name, code, number, scalar, write in writers:
            field = getattr(value, name)
            if field is not None:
                protocol.writeFieldBegin(name, code, number)
                if scalar is None:
                    write(protocol, field)
                else:  # without a function in between, which is a tenth of the time
                    getattr(protocol, scalar)(field)
                protocol.writeFieldEnd()
        protocol.writeFieldStop()
        protocol.writeStructEnd()
    finally:
        if deeper is not _nothing:
            protocol.decrement_recursion_depth()


_UNKNOWN: tuple[int, str, Any] = (TType.STOP, '', None)


def _nothing() -> None:
    """Do nothing: replaces the depth counter that older thrift doesn't have."""


def _readers_of(shape: Shape) -> dict[int, tuple[int, str, Read]]:
    return {field.id: (field.type.code, field.name, _reader(field.type)) for field in shape.fields}


def _writers_of(shape: Shape) -> list[tuple[str, int, int, str | None, Write]]:
    return [
        (field.name, field.type.code, field.id, _scalar(field.type, 'write'), _writer(field.type))
        for field in shape.by_id
    ]


def _scalar(type_: Type, verb: str) -> str | None:
    """Return the protocol's method for a scalar; None for other types, and for enums' members."""
    if type_.enum is not None or type_.code not in _CALLS:
        return None
    return f'{verb}{"Binary" if type_.binary else _CALLS[type_.code]}'


def _reader(type_: Type) -> Read:
    if type_.shape is not None:
        shape = type_.shape
        return lambda protocol: shape.factory(**read_fields(shape, protocol))
    if type_.enum is not None:
        members = members_of(type_.enum)
        return lambda protocol: members[protocol.readI32()]
    scalar = _scalar(type_, 'read')
    if scalar is not None:
        return methodcaller(scalar)
    return _map_reader(type_) if type_.code == TType.MAP else _elements_reader(type_)


def _elements_reader(type_: Type) -> Read:
    assert type_.value is not None
    code, read = type_.value.code, _reader(type_.value)
    name = 'List' if type_.code == TType.LIST else 'Set'
    begin, end = methodcaller(f'read{name}Begin'), methodcaller(f'read{name}End')
    make: Any = list if type_.code == TType.LIST else set
    if type_.frozen:
        make = tuple if type_.code == TType.LIST else frozenset

    def read_elements(protocol: Any) -> Any:
        found, size = begin(protocol)
        if size and found != code:
            raise _other_type(found, code)
        elements = make([read(protocol) for _ in range(size)])
        end(protocol)
        return elements

    return read_elements


def _map_reader(type_: Type) -> Read:
    assert type_.key is not None
    assert type_.value is not None
    key_code, value_code = type_.key.code, type_.value.code
    read_key, read_value = _reader(type_.key), _reader(type_.value)
    make: Any = TFrozenDict if type_.frozen else dict

    def read_map(protocol: Any) -> Any:
        found_key, found_value, size = protocol.readMapBegin()
        if size and (found_key, found_value) != (key_code, value_code):
            raise _other_type((found_key, found_value), (key_code, value_code))
        pairs = [(read_key(protocol), read_value(protocol)) for _ in range(size)]
        protocol.readMapEnd()
        return make(pairs)

    return read_map


def _other_type(found: Any, expected: Any) -> TProtocolException:
    return TProtocolException(
        TProtocolException.INVALID_DATA, f'elements of type {found} instead of {expected}'
    )


def _writer(type_: Type) -> Write:
    if type_.shape is not None:
        shape = type_.shape
        return lambda protocol, value: write_struct(shape, value, protocol)
    if type_.enum is not None:
        return lambda protocol, value: protocol.writeI32(index(value))
    scalar = _scalar(type_, 'write')
    if scalar is not None:
        return lambda protocol, value: getattr(protocol, scalar)(value)
    return _map_writer(type_) if type_.code == TType.MAP else _elements_writer(type_)


def _elements_writer(type_: Type) -> Write:
    assert type_.value is not None
    code, write = type_.value.code, _writer(type_.value)
    name = 'List' if type_.code == TType.LIST else 'Set'
    end = methodcaller(f'write{name}End')
    begin = f'write{name}Begin'

    def write_elements(protocol: Any, values: Any) -> None:
        getattr(protocol, begin)(code, len(values))
        for value in values:
            write(protocol, value)
        end(protocol)

    return write_elements


def _map_writer(type_: Type) -> Write:
    assert type_.key is not None
    assert type_.value is not None
    key_code, value_code = type_.key.code, type_.value.code
    write_key, write_value = _writer(type_.key), _writer(type_.value)

    def write_map(protocol: Any, values: Any) -> None:
        protocol.writeMapBegin(key_code, value_code, len(values))
        for key, value in values.items():
            write_key(protocol, key)
            write_value(protocol, value)
        protocol.writeMapEnd()

    return write_map
