"""Splits a call over a collection into calls with a share each, and merges their replies."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from thrift.Thrift import TType

from thrift_client.mistakes import unless_coroutine

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from thrift_client.core.service import Method

#: The types of arguments that can be split.
_COLLECTIONS = (TType.LIST, TType.SET, TType.MAP)
#: The values of `merge`: a name, a type, or a built-in function.
_KINDS: dict[Any, str] = {
    'list': 'list', list: 'list',
    'set': 'set', set: 'set',
    'map': 'map', 'dict': 'map', dict: 'map',
    'sum': 'sum', sum: 'sum',
}  # fmt: skip


class Share:
    """One server's part of the collection: `keys`, from these `positions` of the whole.

    `endpoint` is whose share it is, `response` its answer once there is one.
    """

    __slots__ = ('endpoint', 'keys', 'positions', 'response')

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.keys: list[Any] = []
        self.positions: list[int] = []
        self.response: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.keys, self.positions, self.response
        return _restored, (self.endpoint.name, *state)

    def __repr__(self) -> str:
        return f'<Share of {self.endpoint.name}: {shown(self.keys)}>'

    @property
    def server(self) -> Any:
        """The SimpleClient whose share it is."""
        return self.endpoint.client

    def add(self, position: int, key: Any) -> None:
        """Add a key."""
        self.positions.append(position)
        self.keys.append(key)

    def of(self, whole: Any) -> Any:
        """Return the part of the collection that this share is, of the same kind."""
        if isinstance(whole, Mapping):
            return {key: whole[key] for key in self.keys}
        return set(self.keys) if isinstance(whole, AbstractSet) else list(self.keys)


class _Named:
    """The server of a share that was pickled, with its name alone."""

    __slots__ = ('client', 'name')

    def __init__(self, name: str) -> None:
        self.name = self.client = name


def _restored(name: str, keys: list[Any], positions: list[int], response: Any) -> Share:
    share = Share(_Named(name))
    share.keys, share.positions, share.response = keys, positions, response
    return share


class Split:
    """How calls of one method are split: by the argument at `position`, merged by `merge`."""

    __slots__ = ('argument', 'merge', 'position')

    def __init__(self, parameters: Sequence[str], argument: str, merge: Any) -> None:
        if argument not in parameters:
            known = ', '.join(parameters)
            raise ValueError(f'unknown argument {argument!r} to split; use one of {known}')
        try:
            kind = _KINDS.get(merge)
        except TypeError:
            kind = None
        if merge is not None and kind is None and not callable(merge):
            raise TypeError(
                "merge must be None, 'list', 'set', 'map', 'sum' or a function of the list of "
                f'values, not {merge!r}'
            )
        self.argument = argument
        self.position = tuple(parameters).index(argument)
        self.merge: str | Callable[[list[Any]], Any] | None = kind or merge

    def check_type(self, method: Method) -> None:
        """Raise TypeError if the service says that the argument is not a list, set or map."""
        rows = [row for row in method.arguments.thrift_spec or () if row]
        if any(row[2] == self.argument and row[1] not in _COLLECTIONS for row in rows):
            raise TypeError(f'{method.name}: {self.argument} is not a list, set or map to split')

    def listed(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments with a list in place of an array, whose elements have no hash."""
        whole = values[self.position]
        if not (hasattr(whole, 'tolist') and hasattr(whole, '__len__')):
            return values
        return *values[: self.position], whole.tolist(), *values[self.position + 1 :]

    def check(self, whole: Any) -> None:
        """Raise TypeError if it is not a list, set, map or None."""
        if whole is not None and not isinstance(whole, (list, tuple, AbstractSet, Mapping)):
            raise TypeError(
                f'{self.argument} is split by key: a list, set or map is needed, not {whole!r}'
            )

    def merged(self, shares: Sequence[Share], values: list[Any], whole: Any) -> Any:
        """Return what one server that holds everything would have answered.

        Raises TypeError for values that only a function could merge.
        """
        if callable(self.merge):
            return unless_coroutine('merge', self.merge(values))
        if len(values) == 1:
            return values[0]
        kind = self.merge or _kind_of(values)
        if kind == 'list':
            return _in_order(shares, values, whole)
        if kind == 'set':
            return set().union(*values)
        if kind == 'map':
            return {key: value for part in values for key, value in part.items()}
        return sum(values) if kind == 'sum' else None


def _kind_of(values: list[Any]) -> str:
    for kind, types in _TYPES.items():
        if all(isinstance(value, types) and not isinstance(value, bool) for value in values):
            return kind
    raise TypeError(f'merge= has to say how to merge replies like {values[0]!r}')


_TYPES: dict[str, Any] = {
    'list': list,
    'set': AbstractSet,
    'map': Mapping,
    'sum': (int, float),
    'nothing': type(None),
}


def _in_order(shares: Sequence[Share], values: list[Any], whole: Any) -> list[Any]:
    """Join lists, in the order of the keys if there is one element for each key."""
    aligned = isinstance(whole, (list, tuple)) and all(
        len(value) == len(share.keys) for share, value in zip(shares, values, strict=True)
    )
    if not aligned:
        return [element for value in values for element in value]
    merged: list[Any] = [None] * len(whole)
    for share, value in zip(shares, values, strict=True):
        for position, element in zip(share.positions, value, strict=True):
            merged[position] = element
    return merged


def shown(keys: list[Any], most: int = 5) -> str:
    """Return a text with some of the keys."""
    text = ', '.join(repr(key) for key in keys[:most])
    return text if len(keys) <= most else f'{text} and {len(keys) - most} more'
