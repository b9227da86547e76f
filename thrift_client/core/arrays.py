"""Lists of numbers as numpy arrays, decoded without an object for each number.

The C decoder reads everything else. It is given specs in which each field that holds such a
list, at any depth, has details that it refuses: it stops right after the field's header. The
field is then read here (lists of numbers with `frombuffer`), and the C decoder goes on with the
next field. This needs a protocol whose field headers and numbers have a fixed width: binary. With
other protocols, the decoded lists are copied into arrays.
"""

from __future__ import annotations

import numpy as np
from thrift.Thrift import TType

from thrift_client.idl.shapes import shape_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.idl.types import Field, Shape, Type

    Read = Callable[[Any], Any]

#: The dtypes of the arrays, by Thrift type.
DTYPES = {
    TType.BOOL: np.dtype('bool'),
    TType.I08: np.dtype('int8'),
    TType.I16: np.dtype('int16'),
    TType.I32: np.dtype('int32'),
    TType.I64: np.dtype('int64'),
    TType.DOUBLE: np.dtype('float64'),
}
#: How the C decoder's error begins when it refuses the details of a field.
_REFUSAL = 'expecting '
#: Details that it refuses, for structs and for containers.
_TRAP: tuple[Any, ...] = ()
#: The bytes of a field's header: its type and its id.
_HEADER = 3


class ArrayDecoder:
    """Decodes the messages of one codec, with arrays for lists of numbers.

    `fast` is the C decoder, `decode(value, protocol, details)`; None without the C extension,
    or if it can't decode the service's classes. `make_fast(transport)` makes a protocol with
    the C decoder, and is None for protocols other than binary.
    """

    def __init__(self, fast: Any, make_fast: Callable[[Any], Any] | None) -> None:
        self._fast = fast
        self._make_fast = make_fast
        if make_fast is not None and make_fast(None)._fast_decode is None:
            self._make_fast = None  # thrift was built without its C extension
        self._structs: dict[Any, _ArrayStruct | None] = {}

    def __call__(self, value: Any, protocol: Any, details: Any) -> None:
        """Read a struct into `value`, an instance of the class `details[0]`."""
        struct = self._struct(details[0])
        if struct is not None and struct.is_fast and self._make_fast is not None:
            if protocol._fast_decode is None:
                protocol = self._make_fast(protocol.trans)
            struct.fill(value, protocol)
            return
        if self._fast is None or details[1] is None:
            value.read(protocol)
        else:
            self._fast(value, protocol, details)
        if struct is not None:
            struct.convert(value)

    def convert(self, value: Any, cls: Any) -> None:
        """Make arrays of the lists in an instance of a class that was decoded without them."""
        struct = self._struct(cls)
        if struct is not None:
            struct.convert(value)

    def _struct(self, cls: Any) -> _ArrayStruct | None:
        """Return how a class is read; None if it holds no arrays."""
        if cls not in self._structs:
            self._structs[cls] = _struct_of(cls)
        return self._structs[cls]


def _struct_of(cls: Any) -> _ArrayStruct | None:
    try:
        shape = shape_of(cls)
    except TypeError:  # fields without ids: their types are unknown
        return None
    return _ArrayStructs().of(shape) if _holds_arrays_in(shape, set()) else None


def is_array(type_: Type) -> bool:
    """Tell whether values of a type are arrays: lists of numbers, but not of enum members."""
    element = type_.value
    return (
        type_.code == TType.LIST
        and not type_.frozen
        and element is not None
        and element.enum is None
        and element.code in DTYPES
    )


def _holds_arrays(type_: Type, under: set[Shape]) -> bool:
    """Tell whether values of a type contain arrays; `under` are the structs being looked at.

    Keys of maps and elements of sets have none: they have to be hashed.
    """
    if is_array(type_):
        return True
    if type_.shape is not None:
        return _holds_arrays_in(type_.shape, under)
    if type_.frozen or type_.value is None or type_.code == TType.SET:
        return False
    return _holds_arrays(type_.value, under)


def _holds_arrays_in(shape: Shape, under: set[Shape]) -> bool:
    if shape in under:
        return False  # its other fields decide
    return any(_holds_arrays(field.type, under | {shape}) for field in shape.fields)


class _ArrayStructs:
    """The structs of one message, each made once, so that they may contain themselves."""

    def __init__(self) -> None:
        self._made: dict[Shape, _ArrayStruct] = {}

    def of(self, shape: Shape) -> _ArrayStruct:
        """Return how a struct that holds arrays is read."""
        struct = self._made.get(shape)
        if struct is None:
            struct = self._made[shape] = _ArrayStruct(shape)
            struct.prepare(self)
        return struct

    def reader(self, type_: Type) -> Read:
        """Return what reads a value that holds arrays from a binary protocol."""
        if is_array(type_):
            return _array_reader(type_)
        if type_.shape is not None:
            return self.of(type_.shape).read
        assert type_.value is not None
        read = self.reader(type_.value)
        return _list_reader(type_, read) if type_.key is None else _map_reader(type_, read)

    def converter(self, type_: Type) -> Callable[[Any], Any]:
        """Return what makes arrays in a value that was decoded without them."""
        if is_array(type_):
            assert type_.value is not None
            dtype = DTYPES[type_.value.code]
            return lambda value: np.array(value, dtype)
        if type_.shape is not None:
            return self.of(type_.shape).convert
        assert type_.value is not None
        convert = self.converter(type_.value)
        if type_.key is None:
            return lambda value: [convert(each) for each in value]
        return lambda value: {key: convert(each) for key, each in value.items()}


class _Collected:
    """Collects the fields of a struct, whose constructor is called with all of them."""


class _ArrayStruct:
    """How a struct that holds arrays is read.

    The C decoder can't read one with negative ids in it (not `is_fast`): its lists are copied.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.is_fast = shape.spec is not None
        self._details: Any = None
        self._stops: dict[bytes, tuple[str, Read]] = {}
        self._converters: list[tuple[str, Callable[[Any], Any]]] = []

    def prepare(self, structs: _ArrayStructs) -> None:
        """Find out where the C decoder has to stop."""
        spec = list(self._shape.spec or ())
        for field in self._shape.fields:
            if _holds_arrays(field.type, {self._shape}) or self._is_recursive(field):
                header = bytes((field.type.code,)) + field.id.to_bytes(2, 'big', signed=True)
                self._stops[header] = field.name, structs.reader(field.type)
                self._converters.append((field.name, structs.converter(field.type)))
                if self.is_fast and field.id >= 0:
                    entry = spec[field.id]
                    spec[field.id] = (*entry[:3], _TRAP, *entry[4:])
        self._details = [_Collected, tuple(spec)]

    def _is_recursive(self, field: Field) -> bool:
        """Tell whether a field holds the struct itself, which holds arrays."""
        type_: Type | None = field.type
        while type_ is not None and not type_.frozen and type_.code != TType.SET:
            if type_.shape is not None:
                return _reaches(type_.shape, self._shape, set())
            type_ = type_.value
        return False

    def fill(self, value: Any, protocol: Any) -> None:
        """Read the fields into `value`."""
        decode, details, buffer = protocol._fast_decode, self._details, protocol.trans
        buffer.kept = _HEADER
        while True:
            try:
                decode(value, protocol, details)
                return
            except TypeError as exc:
                if _REFUSAL not in str(exc):
                    raise
                stopped = buffer.cstringio_buf
                stopped.seek(-_HEADER, 1)
                stop = self._stops.get(stopped.read(_HEADER))
                if stop is None:
                    raise
            name, read = stop
            setattr(value, name, read(protocol))

    def read(self, protocol: Any) -> Any:
        """Read a struct that is in another one."""
        fields = _Collected()
        self.fill(fields, protocol)
        return self._shape.factory(**vars(fields))

    def convert(self, value: Any) -> Any:
        """Make arrays of the lists in an instance, and return it."""
        for name, convert in self._converters:
            held = getattr(value, name, None)
            if held is not None:
                object.__setattr__(value, name, convert(held))
        return value


def _reaches(shape: Shape, wanted: Shape, seen: set[Shape]) -> bool:
    if shape is wanted:
        return True
    if shape in seen:
        return False
    seen.add(shape)
    types = [field.type for field in shape.fields]
    while types:
        type_ = types.pop()
        if type_.shape is not None and _reaches(type_.shape, wanted, seen):
            return True
        types += type_.inner
    return False


def _array_reader(type_: Type) -> Read:
    assert type_.value is not None
    code = type_.value.code
    dtype = DTYPES[code]
    wire = dtype.newbyteorder('>')

    def read(protocol: Any) -> Any:
        element, count = protocol.readListBegin()
        if not count:
            return np.empty(0, dtype)
        _check(element, code)
        reader, size = protocol.trans, count * dtype.itemsize
        buffer = reader.cstringio_buf
        if buffer.getbuffer().nbytes - buffer.tell() < size:
            array = np.empty(count, wire)
            if reader.read_into(array.data.cast('B')):
                return (array if wire.isnative else array.byteswap(inplace=True)).view(dtype)
            buffer = reader.cstringio_refill(buffer.read(), size)
        start = buffer.tell()
        with buffer.getbuffer() as data:
            array = np.frombuffer(data, wire, count, start).astype(dtype)
        buffer.seek(start + size)
        return array

    return read


def _list_reader(type_: Type, read: Read) -> Read:
    assert type_.value is not None
    code = type_.value.code

    def read_list(protocol: Any) -> list[Any]:
        element, count = protocol.readListBegin()
        if count:
            _check(element, code)
        return [read(protocol) for _ in range(count)]

    return read_list


def _map_reader(type_: Type, read: Read) -> Read:
    assert type_.key is not None
    assert type_.value is not None
    key, code = type_.key, type_.value.code

    def read_map(protocol: Any) -> dict[Any, Any]:
        of_keys, of_values, count = protocol.readMapBegin()
        if count:
            _check(of_keys, key.code)
            _check(of_values, code)
        found = {}
        for _ in range(count):
            name = protocol.readFieldByTType(key.code, key.spec)
            found[name] = read(protocol)
        return found

    return read_map


def _check(got: int, expected: int) -> None:
    if got != expected:
        raise TypeError(f'elements of type {got} in place of type {expected}')
