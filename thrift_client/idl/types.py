"""The types of structs of every kind of service, with what encoding needs.

A `Shape` describes one class: its fields with their types, how they are passed to Thrift's C
extension (`spec`), and how an instance is created from decoded values (`factory`). The C
extension returns numbers for enums; a `Type` knows how to convert them to members.
"""

from __future__ import annotations

from sys import intern

from thrift.Thrift import TFrozenDict, TType

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from enum import IntEnum
    from typing import Any

#: TType.UUID, which came with thrift 0.21.
UUID = 16
HAS_UUID = hasattr(TType, 'UUID')

_NAMES = {
    TType.BOOL: 'bool',
    TType.I08: 'i8',
    TType.I16: 'i16',
    TType.I32: 'i32',
    TType.I64: 'i64',
    TType.DOUBLE: 'double',
    UUID: 'uuid',
}


def numbers_of(enum: Any) -> dict[str, int]:
    """Return the numbers of an enum's members by name: of the IDL, except where gen-py lost it."""
    declared: dict[str, int] | None = getattr(enum, '_NAMES_TO_VALUES', None)
    if declared is not None:
        return declared
    return {name: int(member) for name, member in enum.__members__.items()}


class Type:
    """One type. What it is made of depends on `code`, one of `TType`'s numbers.

    `binary` tells binary from string. `enum` is the class of an i32's members, or None. `shape`
    describes a struct. `key` and `value` are what a map holds, `value` also what a list or set
    holds. `frozen` containers are decoded as tuples, frozensets and TFrozenDicts, which can be
    keys. `size` is how many types it is made of. `names` are the numbers of an i32's members,
    whose enum is called `label`: empty if it is not an enum, and None if gen-py doesn't say
    whether it is one.
    """

    __slots__ = (
        'binary',
        'code',
        'enum',
        'frozen',
        'key',
        'label',
        'names',
        'shape',
        'size',
        'value',
    )

    def __init__(
        self,
        code: int,
        *,
        binary: bool = False,
        enum: type[IntEnum] | None = None,
        shape: Shape | None = None,
        key: Type | None = None,
        value: Type | None = None,
        frozen: bool = False,
        names: Mapping[str, int] | None = None,
        label: str = '',
    ) -> None:
        self.code = code
        self.binary = binary
        self.enum = enum
        self.shape = shape
        self.key = key
        self.value = value
        self.frozen = frozen
        self.names = names
        self.label = label
        if enum is not None:
            self.set_enum(enum)
        self.size: int = 1 + sum(type_.size for type_ in self.inner)

    def set_enum(self, enum: type[IntEnum]) -> None:
        """Make it the type of an enum's members."""
        self.enum = enum
        self.names = numbers_of(enum)
        self.label = enum.__name__

    @property
    def inner(self) -> tuple[Type, ...]:
        """The types of what a container holds: a map's key first."""
        return tuple(type_ for type_ in (self.key, self.value) if type_ is not None)

    @property
    def spec(self) -> Any:
        """The fourth part of an entry of `thrift_spec`."""
        if self.code == TType.STRING:
            return 'BINARY' if self.binary else 'UTF8'
        if self.code == TType.STRUCT:
            return self.shape.details  # type: ignore[union-attr]
        if not self.inner:
            return None
        parts = [part for type_ in self.inner for part in (type_.code, type_.spec)]
        return (*parts, self.frozen)

    def __str__(self) -> str:
        if self.code == TType.STRING:
            return 'binary' if self.binary else 'string'
        if self.code == TType.STRUCT:
            return self.shape.name  # type: ignore[union-attr]
        if self.label:
            return self.label
        if self.code == TType.MAP:
            return f'map<{self.key}, {self.value}>'
        if self.code in (TType.LIST, TType.SET):
            return f'{"list" if self.code == TType.LIST else "set"}<{self.value}>'
        return _NAMES[self.code]


class Field:
    """A field of a struct, or an argument of a method.

    `make_default` creates a new value if the IDL's default is a container or a struct;
    `default` is one such value then, and None if the IDL has none. `required` is None if the IDL
    says neither `required` nor `optional`. `idl_name` differs from `name` if Python can't have it.
    """

    __slots__ = ('default', 'doc', 'id', 'idl_name', 'make_default', 'name', 'required', 'type')

    def __init__(
        self,
        id: int,
        name: str,
        type: Type,
        *,
        required: bool | None = None,
        default: Any = None,
        make_default: Callable[[], Any] | None = None,
        doc: str | None = None,
        idl_name: str | None = None,
    ) -> None:
        self.id = id
        self.name = intern(name)  # the C extension is 1.2 times slower with other strings
        self.type = type
        self.required = required
        self.default = default
        self.make_default = make_default
        self.doc = doc
        self.idl_name = name if idl_name is None else idl_name


class Shape:
    """What is known about the class of a struct, in the order of its declaration.

    `details` is what the C extension is given, `[factory, spec]`: one list that other shapes
    refer to before it is filled, so that structs may contain themselves. `spec` is None if the
    C extension can't decode it: it, or a struct in it, has fields without ids.
    """

    __slots__ = (
        'cls',
        'details',
        'doc',
        'fields',
        'frozen',
        'in_place',
        'kind',
        'members',
        'name',
        'readers',
        'size',
        'walkers',
        'writers',
    )

    def __init__(
        self, name: str, kind: str = 'struct', doc: str | None = None, *, frozen: bool = False
    ) -> None:
        self.name = name
        self.doc = doc
        self.kind = kind
        self.frozen = frozen  # whether the class refuses to have its fields set
        self.fields: tuple[Field, ...] = ()
        self.details: list[Any] = [None, None]
        self.cls: Any = None
        self.size = 1  # how many values a new instance contains, by its defaults
        self.in_place = True  # whether enum members are set in instances after decoding
        self.members = False  # whether it contains enum members, at any depth
        #: Functions that convert numbers to enum members in one instance, and in several. None
        #: if it has none, or if the factories do it.
        self.walkers: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
        self.readers: Any = None  # what `wire` derives from the fields when it is needed
        self.writers: Any = None

    @property
    def factory(self) -> Callable[..., Any]:
        """Creates an instance from decoded values, given by field name."""
        return self.details[0]  # type: ignore[no-any-return]

    @property
    def spec(self) -> tuple[Any, ...] | None:
        """The `thrift_spec` of gen-py's classes."""
        return self.details[1]  # type: ignore[no-any-return]

    @property
    def by_id(self) -> list[Field]:
        """The fields in the order in which they are written."""
        return sorted(self.fields, key=lambda field: field.id)

    def field(self, name: str) -> Field | None:
        """Return the field of that name, or None."""
        return next((field for field in self.fields if field.name == name), None)

    def idl_field(self, name: str) -> Field | None:
        """Return the field that the IDL calls `name`, or None."""
        return next((field for field in self.fields if field.idl_name == name), None)

    def __repr__(self) -> str:
        return f'<Shape {self.name}>'


def fill(shapes: Iterable[Shape]) -> None:
    """Create the specs of shapes whose fields are known.

    The structs that they contain must be among them, or filled already.
    """
    shapes = list(shapes)
    new = set(shapes)
    slow, members = set(), set()
    parents: dict[Shape, list[Shape]] = {}
    for shape in shapes:
        if any(field.id < 0 for field in shape.fields):
            slow.add(shape)
        for part in {part for field in shape.fields for part in parts_of(field.type)}:
            inner = part.shape
            if part.enum is not None or (inner is not None and inner.members):
                members.add(shape)
            if inner is not None:
                parents.setdefault(inner, []).append(shape)
                if inner not in new and inner.spec is None:
                    slow.add(shape)
    _spread(slow, parents)
    _spread(members, parents)
    for shape in shapes:
        shape.details[1] = None if shape in slow else _spec(shape)
        shape.members = shape in members
    for shape in shapes:
        if shape.members and shape.in_place:
            shape.walkers = _walkers(shape)


def _spread(found: set[Shape], parents: dict[Shape, list[Shape]]) -> None:
    """Add to a set of shapes all that contain them."""
    todo = list(found)
    while todo:
        for parent in parents.get(todo.pop(), ()):
            if parent not in found:
                found.add(parent)
                todo.append(parent)


def _spec(shape: Shape) -> tuple[Any, ...]:
    by_id = {field.id: field for field in shape.fields}
    last = max(by_id, default=-1)
    return tuple(
        (field.id, field.type.code, field.name, field.type.spec, field.default)
        if (field := by_id.get(number)) is not None
        else None
        for number in range(last + 1)
    )


def parts_of(type_: Type) -> Iterator[Type]:
    """Yield the type and the types that it holds, but not those of a struct's fields."""
    yield type_
    for inner in type_.inner:
        yield from parts_of(inner)


def has_members(type_: Type) -> bool:
    """Tell whether values of a type hold an enum's members, at any depth."""
    return any(
        part.enum is not None or (part.shape is not None and part.shape.members)
        for part in parts_of(type_)
    )


class _Members(dict):  # type: ignore[type-arg]  # Any is not imported at run time
    """An enum's members by number; a number without a member gives itself."""

    __slots__ = ()

    def __missing__(self, number: Any) -> Any:
        return number


def members_of(enum: type[IntEnum]) -> dict[int, Any]:
    """Return an enum's members by number; a number without a member gives itself."""
    return _Members({int(member): member for member in enum})


def member_of(enum: type[IntEnum], number: int) -> int:
    """Return an enum's member; a number without a member gives itself."""
    try:
        return enum(number)
    except (ValueError, TypeError):  # TypeError if it has no members at all
        return number


def converter(type_: Type) -> Callable[[Any], Any] | None:
    """Return a function that converts numbers to enum members; None if the type has none.

    Structs are changed in place, containers are replaced.
    """
    if type_.enum is not None:
        return members_of(type_.enum).__getitem__
    if type_.shape is not None:
        return _struct_converter(type_.shape, 0)
    if type_.code == TType.MAP:
        return _map_converter(type_)
    return None if type_.value is None else _elements_converter(type_, type_.value)


def _struct_converter(shape: Shape, walker: int) -> Callable[[Any], Any] | None:
    if not shape.members or not shape.in_place:
        return None

    def convert(value: Any) -> Any:  # its walkers are created later if it contains itself
        return shape.walkers[walker](value)  # type: ignore[index]

    return convert


def _elements_converter(type_: Type, element: Type) -> Callable[[Any], Any] | None:
    if element.shape is not None:
        return _struct_converter(element.shape, 1)
    make: Any = list if type_.code == TType.LIST else set
    if type_.frozen:
        make = tuple if type_.code == TType.LIST else frozenset
    convert = converter(element)
    return None if convert is None else lambda values: make(map(convert, values))


def _map_converter(type_: Type) -> Callable[[Any], Any] | None:
    assert type_.key is not None
    assert type_.value is not None
    key, value = converter(type_.key), converter(type_.value)
    if key is None and value is None:
        return None
    make: Any = TFrozenDict if type_.frozen else dict

    def convert(mapping: Any) -> Any:
        keys = mapping if key is None else map(key, mapping)
        values = mapping.values() if value is None else map(value, mapping.values())
        return make(zip(keys, values, strict=True))

    return convert


def conversion(field: Field, number: int, scope: dict[str, Any]) -> str | None:
    """Return the source of an expression that converts the numbers in `valueø` to enum members.

    None if the field has none. What the source needs is put into `scope`.
    """
    if field.type.enum is not None:
        # For a single value `get` is faster, for many in a row `__getitem__`.
        scope[f'get{number}ø'] = members_of(field.type.enum).get
        return f'get{number}ø(valueø, valueø)'
    convert = converter(field.type)
    if convert is None:
        return None
    scope[f'convert{number}ø'] = convert
    return f'convert{number}ø(valueø)'


def _walkers(shape: Shape) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Create functions for one instance and for several; they return their argument."""
    scope: dict[str, Any] = {'setø': object.__setattr__}
    lines = []
    for i, field in enumerate(shape.fields):
        source = conversion(field, i, scope)
        if source is not None:
            name = field.name
            put = f'oneø.{name} = {source}'
            if shape.frozen:
                put = f"setø(oneø, '{name}', {source})"
            lines += [f' valueø = oneø.{name}', f' if valueø is not None: {put}']
    one = ['def one(oneø):', *lines, ' return oneø']
    body = [f' {line}' for line in (*lines, ' pass')]
    several = ['def several(allø):', ' for oneø in allø:', *body, ' return allø']
    exec('\n'.join([*one, *several]), scope)  # noqa: S102 - checked names
    return scope['one'], scope['several']
