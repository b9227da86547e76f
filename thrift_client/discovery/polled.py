"""A function that is called for the list at intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Unpack

from thrift_client.discovery.member import readable_of
from thrift_client.discovery.source import FunctionReader, Reading, Source
from thrift_client.discovery.stable import Policy, PolicyOptions

if TYPE_CHECKING:
    from thrift_client.typed_options import MemberForm


class CallableSource(Source):
    """Calls a function for the list, in the watch's thread.

    `function`: takes nothing and returns a list of what `Member.of` accepts, whose order is
    kept; an exception counts as a failure of the source. `interval`: ms between calls.
    `policy`: see `Policy`.

    Raises TypeError (`function` can't be called) and ValueError (a duration that can't be
    right).
    """

    ordered = True

    def __init__(
        self,
        function: Callable[[], Iterable[MemberForm]],
        *,
        interval: float = 30_000,
        **policy: Unpack[PolicyOptions],
    ) -> None:
        if not callable(function):
            raise TypeError(f'function must be callable, not {function!r}')
        name = getattr(function, '__qualname__', type(function).__name__)
        super().__init__(f'callable:{name}', Policy(**policy))
        self._function = function
        self._interval = checked_duration('interval', interval)

    def open(self, wake: Callable[[], None]) -> FunctionReader:
        """Create a reader that calls the function."""
        del wake
        return FunctionReader(self._ask)

    def _ask(self) -> Reading:
        members, broken = readable_of(self._function())
        return Reading(members, self._interval, broken)


def checked_duration(option: str, value: float) -> float:
    """Return `value` if it is a number of ms above 0. Raises ValueError, naming the option."""
    if not value > 0:  # NaN is not
        raise ValueError(f'{option} must be above 0 ms, not {value!r}')
    return value
