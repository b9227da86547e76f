"""Values for anything that gen-py describes, made from its `thrift_spec`."""

from __future__ import annotations

from hypothesis import strategies as st
from thrift.Thrift import TFrozenDict, TType

#: Structs in structs: deeper than this they are empty, since some contain themselves.
DEPTH = 2
FEW = 3

_INTEGERS = {TType.BYTE: 7, TType.I16: 15, TType.I32: 31, TType.I64: 63}


def field_values(spec, depth=0):
    """A strategy for the value of a field; None where it is a struct that is too deep."""
    _, kind, _, details, _ = spec
    return values(kind, details, depth)


def values(kind, details, depth):
    """A strategy for the values of a type and its details in a `thrift_spec`."""
    if kind == TType.BOOL:
        return st.booleans()
    if kind in _INTEGERS:
        bits = _INTEGERS[kind]
        return st.integers(-(2**bits), 2**bits - 1)
    if kind == TType.DOUBLE:
        return st.floats(allow_nan=False)
    if kind == TType.STRING:
        if details == 'BINARY':
            return st.binary(max_size=20)
        return st.text(st.characters(exclude_categories=['Cs']), max_size=20)
    if kind == TType.STRUCT:
        return structs(details[0], depth)
    return _containers(kind, details, depth)


def structs(cls, depth=0):
    """A strategy for instances of a generated struct, union or exception."""
    if cls.thrift_spec is None:
        return st.builds(cls)
    return _structs(cls, depth)


@st.composite
def _structs(draw, cls, depth):
    fields = [spec for spec in cls.thrift_spec if spec is not None and fits(spec, depth + 1)]
    given = {spec[2]: draw(field_values(spec, depth + 1)) for spec in fields}
    left_out = draw(st.sets(st.sampled_from(sorted(given)))) if given else set()
    some = cls(**{name: value for name, value in given.items() if name not in left_out})
    return some if _is_valid(some) else cls(**given)


def fits(spec, depth):
    """Whether a field is given a value at all so deep in a value."""
    return depth <= DEPTH or spec[1] not in (TType.STRUCT, TType.LIST, TType.SET, TType.MAP)


def _is_valid(struct):
    """Whether it has the fields that the IDL calls required, which only code knows of."""
    validate = getattr(struct, 'validate', None)
    try:
        if validate is not None:
            validate()
    except Exception:  # noqa: BLE001 - of any class, depending on the compiler
        return False
    return True


def _containers(kind, details, depth):
    if kind == TType.MAP:
        key, key_details, value, value_details, frozen = details
        made = st.dictionaries(
            values(key, key_details, depth + 1),
            values(value, value_details, depth + 1),
            max_size=FEW,
        )
        return made.map(TFrozenDict) if frozen else made
    element, element_details, frozen = details
    elements = values(element, element_details, depth + 1)
    if kind == TType.SET:
        return (st.frozensets if frozen else st.sets)(elements, max_size=FEW)
    made = st.lists(elements, max_size=FEW)
    return made.map(tuple) if frozen else made
