"""Resolves the values of constants and defaults, and checks them against their types.

A mutable value (a list, a struct) is created separately for each instance that has it as a
default, so the result is a function that creates it.
"""

from __future__ import annotations

import uuid

from thrift.Thrift import TFrozenDict, TType

from thrift_client.errors import IdlError
from thrift_client.idl.syntax import Value
from thrift_client.idl.types import UUID, Type, member_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Protocol

    from thrift_client.idl.syntax import ConstNode, TypeName
    from thrift_client.idl.types import Shape

    class Names(Protocol):
        """What resolving values needs from the names of a file (`resolve.Program`)."""

        path: str
        values: Values

        def type(self, name: TypeName) -> Type:
            """See `Program.type`."""

        def class_of(self, shape: Shape, line: int) -> Any:
            """See `Program.class_of`."""

        def find_value(
            self, name: Any, type_: Type, line: int
        ) -> tuple[Names, ConstNode] | int | None:
            """See `Program.find_value`."""

#: The maximum number of values in one constant, with the constants and defaults that it names.
MAX_SIZE = 100_000

_BITS = {TType.I08: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}
_TRUTH = {'true': 1, 'false': 0}


class Made:
    """A resolved value. `make` creates a new one if it is mutable; otherwise it is None."""

    __slots__ = ('make', 'size', 'value')

    def __init__(
        self, value: Any = None, make: Callable[[], Any] | None = None, size: int = 1
    ) -> None:
        self.value = value
        self.make = make
        self.size = size

    def new(self) -> Any:
        """Create a value that is not shared. Raises TypeError if a key in it can't be hashed."""
        return self.value if self.make is None else self.make()


class Values:
    """Resolves the values of a file."""

    def __init__(self, program: Names) -> None:
        self._program = program
        self._made: dict[tuple[Any, ...], Made | None] = {}

    def of(self, type_: Type, value: Value, *, key: bool = False) -> Made:
        """Resolve a value. `key` values are made so that they can be hashed.

        Raises IdlError if the value is not of the type.
        """
        if value.kind == 'name':
            return self._named(type_, value, key)
        if type_.enum is not None:
            return Made(self._enum(type_, value))
        if type_.code in _BITS:
            return Made(self._integer(type_, value))
        return self._kinds[type_.code](self, type_, value, key)

    def constant(self, const: ConstNode, type_: Type, key: bool, line: int, path: str) -> Made:
        """Resolve a constant as a value of `type_`, which need not be its own type."""
        known = (const.name, _signature(type_), key)
        if known in self._made:
            made = self._made[known]
            if made is None:
                raise IdlError(path, line, f'expected a value, but {const.name} is its own value')
            return made
        self._made[known] = None
        made = self._made[known] = self.of(type_, const.value, key=key)
        return made

    def _fail(self, expected: str, value: Value) -> IdlError:
        shown = {'list': 'a list', 'map': 'a map'}.get(value.kind) or repr(value.value)
        return IdlError(self._program.path, value.line, f'expected {expected}, not {shown[:40]}')

    def _named(self, type_: Type, value: Value, key: bool) -> Made:
        found = self._program.find_value(value.value, type_, value.line)
        if found is None:
            if value.value in _TRUTH and (type_.code in _BITS or type_.code == TType.BOOL):
                number = _TRUTH[value.value]
                return Made(bool(number) if type_.code == TType.BOOL else number)
            raise self._fail(f'{_a(type_)} or the name of one', value)
        if isinstance(found, int):
            return self.of(type_, Value('int', found, value.line))
        owner, const = found
        try:
            return owner.values.constant(const, type_, key, value.line, self._program.path)
        except IdlError:
            if _signature(owner.type(const.type)) == _signature(type_):
                raise
            raise self._fail(_a(type_), value) from None  # the mistake is to name it here

    def _enum(self, type_: Type, value: Value) -> Any:
        return member_of(type_.enum, self._integer(type_, value))  # type: ignore[arg-type]

    def _integer(self, type_: Type, value: Value) -> int:
        if value.kind != 'int':
            raise self._fail(_a(type_), value)
        limit = 1 << (_BITS[type_.code] - 1)
        if not -limit <= value.value < limit:
            raise self._fail(f'a number from {-limit} to {limit - 1} for {type_}', value)
        return value.value  # type: ignore[no-any-return]

    def _bool(self, _: Type, value: Value, _key: bool) -> Made:
        if value.kind != 'int':
            raise self._fail('true or false', value)
        return Made(bool(value.value))

    def _double(self, _: Type, value: Value, _key: bool) -> Made:
        if value.kind not in {'int', 'double'}:
            raise self._fail('a double', value)
        try:
            return Made(float(value.value))
        except OverflowError:
            raise self._fail('a number that fits a double', value) from None

    def _string(self, type_: Type, value: Value, _: bool) -> Made:
        if value.kind != 'string':
            raise self._fail(_a(type_), value)
        return Made(value.value.encode() if type_.binary else value.value)

    def _uuid(self, type_: Type, value: Value, _: bool) -> Made:
        try:
            return Made(uuid.UUID(self._string(type_, value, False).value))
        except ValueError:
            raise self._fail('a UUID', value) from None

    def _elements(self, type_: Type, value: Value, key: bool) -> Made:
        empty = value.kind == 'map' and not value.value
        if value.kind != 'list' and not empty:
            raise self._fail(f'a list for {type_}', value)
        assert type_.value is not None
        is_set = type_.code == TType.SET
        made = [self.of(type_.value, each, key=key or is_set) for each in value.value]
        kind: Any = set if is_set else list
        if key or type_.frozen:
            kind = frozenset if is_set else tuple
        return self._sized(Made(None, lambda: kind([each.new() for each in made])), made, value)

    def _map(self, type_: Type, value: Value, key: bool) -> Made:
        empty = value.kind == 'list' and not value.value
        if value.kind != 'map' and not empty:
            raise self._fail(f'a map for {type_}', value)
        assert type_.key is not None
        assert type_.value is not None
        made = [
            (self.of(type_.key, k, key=True), self.of(type_.value, v, key=key))
            for k, v in value.value
        ]
        kind: Any = TFrozenDict if key or type_.frozen else dict
        whole = Made(None, lambda: kind([(k.new(), v.new()) for k, v in made]))
        return self._sized(whole, [each for pair in made for each in pair], value)

    def _struct(self, type_: Type, value: Value, key: bool) -> Made:
        shape = type_.shape
        assert shape is not None
        if value.kind != 'map':
            raise self._fail(f'a map with the fields of {shape.name}', value)
        cls = self._program.class_of(shape, value.line)
        given: dict[str, Made] = {}
        for name, inner in value.value:
            field = None
            if name.kind == 'string':
                field = shape.idl_field(name.value)
            if field is None:
                raise self._fail(f'a field of {shape.name}', name)
            given[field.name] = self.of(field.type, inner, key=key)
        cost = Made(size=shape.size)
        whole = Made(None, lambda: cls(**{name: each.new() for name, each in given.items()}))
        return self._sized(whole, [cost, *given.values()], value)

    def _sized(self, whole: Made, parts: list[Made], value: Value) -> Made:
        whole.size = 1 + sum(part.size for part in parts)
        if whole.size > MAX_SIZE:
            wrong = f'expected a value of at most {MAX_SIZE} elements'
            raise IdlError(self._program.path, value.line, wrong)
        return whole

    _kinds: ClassVar[dict[int, Callable[[Any, Type, Value, bool], Made]]] = {
        TType.BOOL: _bool,
        TType.DOUBLE: _double,
        TType.STRING: _string,
        UUID: _uuid,
        TType.LIST: _elements,
        TType.SET: _elements,
        TType.MAP: _map,
        TType.STRUCT: _struct,
    }


def _a(type_: Type) -> str:
    name = str(type_)
    return f'{"an" if name[0] in "aeiouAEIOU" else "a"} {name}'


def _signature(type_: Type) -> tuple[Any, ...]:
    """Return the type's signature: types with equal ones have the same values."""
    inner = tuple(map(_signature, type_.inner))
    made_of: type | Shape | None = type_.enum or type_.shape
    return type_.code, type_.binary, made_of, type_.frozen, inner
