"""Policies: frozen values, validated once, that a client, a pool or a call is given.

What they decide is in `core/`; a value here can be shared by any number of clients.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any, Self


class Policy:
    """An immutable value: equal by its fields, copied with changes by `replace`."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> Self:
        """The same policy with some of its fields changed."""
        return type(self)(**{**self._values(), **changes})

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'{type(self).__name__} is immutable; use replace({name}=…)')

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f'{type(self).__name__} is immutable')

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values().values()))

    def __repr__(self) -> str:
        fields = ', '.join(f'{name}={value!r}' for name, value in self._values().items())
        return f'{type(self).__name__}({fields})'

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self._values())


def _rebuilt(kind: Any, values: dict[str, Any]) -> Policy:
    policy: Policy = kind(**values)
    return policy


class RetryPolicy(Policy):
    """When a failed call is tried again, which is only if it can't do harm.

    `attempts`: how often it is tried in all; 1 is never again. `backoff`: the longest
    first pause in ms, doubled for each further one up to `max_backoff` ms; a pause is
    drawn evenly from 0 to that (full jitter), so that clients don't retry in step.
    `budget`: how many retries there may be for each call of the client or pool, beside a
    small floor, so that a pool in trouble isn't stormed. `connect`: whether a failed
    connect is tried again too, on the same server.

    What may have run is tried again only if the method is `idempotent`.
    Raises TypeError and ValueError for values that make no sense.
    """

    __slots__ = _fields = ('attempts', 'backoff', 'max_backoff', 'budget', 'connect')
    attempts: int
    backoff: float
    max_backoff: float
    budget: float
    connect: bool

    def __init__(
        self,
        attempts: int = 3,
        backoff: float = 50,
        max_backoff: float = 1000,
        budget: float = 0.2,
        connect: bool = False,
    ) -> None:
        _at_least('attempts', attempts, 1, whole=True)
        _at_least('backoff', backoff, 0)
        _at_least('max_backoff', max_backoff, 0)
        _at_least('budget', budget, 0)
        self._set(
            attempts=attempts,
            backoff=backoff,
            max_backoff=max_backoff,
            budget=budget,
            connect=bool(connect),
        )


class CircuitBreaker(Policy):
    """When a server that fails is left alone for a while.

    `failures`: so many calls in a row that found it unreachable, lost or talking
    nonsense. `rate`: or such a share (0 to 1) of the calls in `window` ms, of ten or more;
    None: the share doesn't matter. `eject`: it is then left alone for so many ms, twice
    as long each time in a row up to `max_eject` ms, with jitter; then one call probes it.
    `max_share`: the largest share of a pool that may be out at once; the last server
    never is.

    Timeouts and exceptions that the server answers with don't count as failures of the
    server. Raises TypeError and ValueError for values that make no sense.
    """

    __slots__ = _fields = ('failures', 'rate', 'window', 'eject', 'max_eject', 'max_share')
    failures: int
    rate: float | None
    window: float
    eject: float
    max_eject: float
    max_share: float

    def __init__(
        self,
        failures: int = 5,
        rate: float | None = None,
        window: float = 10000,
        eject: float = 1000,
        max_eject: float = 60000,
        max_share: float = 0.5,
    ) -> None:
        _at_least('failures', failures, 1, whole=True)
        if rate is not None:
            _share('rate', rate)
        _at_least('window', window, 1)
        _at_least('eject', eject, 1)
        _at_least('max_eject', max_eject, eject)
        _share('max_share', max_share)
        self._set(
            failures=failures,
            rate=rate,
            window=window,
            eject=eject,
            max_eject=max_eject,
            max_share=max_share,
        )


class Hedge(Policy):
    """When a slow call of an idempotent method is begun a second time.

    `after`: so many ms after the first; None: after as long as `percentile` percent of
    the recent calls of the method took. Raises TypeError and ValueError for values that
    make no sense.
    """

    __slots__ = _fields = ('after', 'percentile')
    after: float | None
    percentile: float

    def __init__(self, after: float | None = None, percentile: float = 95) -> None:
        if after is not None:
            _at_least('after', after, 0)
        _at_least('percentile', percentile, 1)
        if percentile >= 100:
            raise ValueError(f'percentile must be below 100, not {percentile!r}')
        self._set(after=after, percentile=percentile)


def _at_least(name: str, value: object, least: float, *, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f'{name} must be {"an int" if whole else "a number"}, not {value!r}')
    if not least <= value < float('inf'):
        raise ValueError(f'{name} must be at least {least}, not {value!r}')


def _share(name: str, value: object) -> None:
    _at_least(name, value, 0)
    if not 0 < value <= 1:  # type: ignore[operator]
        raise ValueError(f'{name} must be above 0 and at most 1, not {value!r}')
