"""Finds the fields of gen-py's classes that are enums, if the compiler wrote enum classes.

`thrift_spec` says i32 for them, and the C extension decodes numbers; only the generated `read`
knows the enums. So it is run over a protocol that has each field once, with stand-ins for the
enum classes that record which number was converted to which enum.
"""

from __future__ import annotations

from enum import Enum
from types import FunctionType, ModuleType

from thrift.Thrift import TType

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from thrift_client.idl.types import Field, Type


def has_enums(module: dict[str, Any]) -> bool:
    """Tell whether a generated module, given by its names, has enum classes instead of numbers."""
    return 'IntEnum' in module


def find_enums(cls: Any, fields: list[Field]) -> None:
    """Set the enums in the types of a generated class's fields."""
    read = getattr(cls, 'read', None)
    function = getattr(read, '__func__', read)
    if not isinstance(function, FunctionType) or not has_enums(function.__globals__):
        return
    names = {name: _stand_in(value) for name, value in function.__globals__.items()}
    run = FunctionType(function.__code__, names, closure=function.__closure__)
    for field in fields:
        protocol = _OneField(field)
        try:
            run(_Anything(), protocol)
        except Exception:  # noqa: BLE001, S110 - a struct as a key fails once all has been read
            pass
        for type_, number in zip(_numbers(field.type), protocol.numbers, strict=False):
            type_.names = {}
            if number.enum is not None:
                type_.set_enum(number.enum)


def _numbers(type_: Type) -> Iterator[Type]:
    """Yield the i32s in a value of one element each, in the order in which they are read."""
    if type_.code == TType.I32:
        yield type_
    for inner in type_.inner:
        yield from _numbers(inner)


class _Number:
    """An i32 that was read, and the enum that it was passed to."""

    enum: Any = None

    @property
    def name(self) -> str:
        """Asked for by the code of compiler 0.17, whose values are names: no members."""
        self.enum = None
        return ''


class _Enum:
    """Stands in for an enum class."""

    def __init__(self, enum: Any) -> None:
        self._enum = enum

    def __call__(self, number: _Number) -> _Number:
        number.enum = self._enum
        return number


class _Module:
    """Stands in for an imported module, whose enums are used by their dotted names."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _stand_in(getattr(self._module, name))


def _stand_in(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, Enum):
        return _Enum(value)
    return _Module(value) if isinstance(value, ModuleType) else value


class _Anything:
    """The struct that is read, or its class, which is called with the fields."""

    def __call__(self, **_: Any) -> None:
        pass


class _OneField:
    """A protocol with a struct of one field; containers have one element, structs none."""

    _fast_decode = None
    trans = None

    def __init__(self, field: Field) -> None:
        self._fields = [(None, field.type.code, field.id)]
        self.numbers: list[_Number] = []

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    def _nothing(self, *_: Any) -> Any:
        return None

    def readFieldBegin(self) -> tuple[None, int, int]:
        """Return the type and id of the one field, and STOP after that."""
        return self._fields.pop() if self._fields else (None, TType.STOP, 0)

    def readI32(self) -> _Number:
        """Return a number that records which enum it is given to; kept in `numbers`."""
        self.numbers.append(_Number())
        return self.numbers[-1]

    def readListBegin(self) -> tuple[int, int]:
        """Begin a list of one element."""
        return 0, 1

    def readSetBegin(self) -> tuple[int, int]:
        """Begin a set of one element."""
        return 0, 1

    def readMapBegin(self) -> tuple[int, int, int]:
        """Begin a map of one entry."""
        return 0, 0, 1
