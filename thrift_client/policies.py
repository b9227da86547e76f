"""Policies: frozen values, validated once, that a client, a pool or a call is given.

What they decide is in `core/`; a value here can be shared by any number of clients.
"""

from __future__ import annotations

from thrift_client.mistakes import of_field

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

    P = ParamSpec('P')
    T = TypeVar('T')

    class _Replace(Generic[P]):
        """`replace` as type checkers see it: with the arguments of the policy's constructor."""

        def __init__(self, constructor: Callable[Concatenate[Any, P], None]) -> None: ...
        def __get__(self, policy: T, kind: type[T]) -> Callable[P, T]: ...


class PolicyBase:
    """An immutable value: equal by its fields, copied with changes by `replace`."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __new__(cls, *_values: Any, **given: Any) -> Self:
        """Raise TypeError for a keyword that is not a field, with the nearest."""
        for name in given:
            if name not in cls._fields:
                hint = of_field(name, cls._fields)
                raise TypeError(f'{cls.__name__} has no field {name!r}{hint}')
        return super().__new__(cls)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # each policy has its own fields

        def replace(self, **changes: Any) -> Self:
            """Return the same policy with some of its fields changed."""
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


def _rebuilt(kind: Any, values: dict[str, Any]) -> PolicyBase:
    policy: PolicyBase = kind(**values)
    return policy


class RetryPolicy(PolicyBase):
    """When a failed call is retried: only if that is safe.

    `attempts`: how many attempts a call has at most; 1 means no retry. `backoff`: the longest
    first pause in ms, doubled for each further one up to `max_backoff` ms; a pause is
    drawn evenly from 0 to that (full jitter), so that clients don't retry in step.
    `budget`: how many retries each call of the client or pool adds to its retry budget,
    in addition to a small floor: this prevents retry storms. `connect`:
    whether a failed connect is retried too, on the same server. `attempt_timeout`: the
    limit of one attempt in ms, within the call's timeout; None: the call's timeout alone.

    A call that may have run is retried only if the method is `idempotent`. `retry_on`:
    exception classes, or a function of the exception, that make an answered call of an
    idempotent method worth another attempt.

    Raises TypeError and ValueError for values that make no sense.
    """

    __slots__ = _fields = (
        'attempts', 'backoff', 'max_backoff', 'budget', 'connect', 'attempt_timeout', 'retry_on',
    )  # fmt: skip
    attempts: int
    backoff: float
    max_backoff: float
    budget: float
    connect: bool
    attempt_timeout: float | None
    retry_on: tuple[type[BaseException], ...] | Callable[[BaseException], object]

    def __init__(
        self,
        attempts: int = 3,
        backoff: float = 50,
        max_backoff: float = 1000,
        budget: float = 0.2,
        connect: bool = False,
        attempt_timeout: float | None = None,
        retry_on: type[BaseException]
        | Sequence[type[BaseException]]
        | Callable[[Any], object] = (),
    ) -> None:
        _at_least('attempts', attempts, 1, whole=True)
        _at_least('backoff', backoff, 0)
        _at_least('max_backoff', max_backoff, 0)
        _at_least('budget', budget, 0)
        if attempt_timeout is not None:
            _at_least('attempt_timeout', attempt_timeout, 1)
        self._set(
            attempts=attempts,
            backoff=backoff,
            max_backoff=max_backoff,
            budget=budget,
            connect=bool(connect),
            attempt_timeout=attempt_timeout,
            retry_on=_classes_or_function(retry_on),
        )

    if TYPE_CHECKING:
        replace = _Replace(__init__)


class CircuitBreaker(PolicyBase):
    """When a failing server is ejected, and for how long.

    `failures`: how many failures in a row eject it (unreachable, connection lost, invalid
    reply, and with `count_timeouts` no reply in time). `rate`: the share (0 to 1) of failed
    calls in `window` ms that ejects it, of ten calls or more; None: not used. `eject`: for
    how many ms, doubled each time in a row up to `max_eject` ms, with jitter. `max_share`:
    the largest share of a pool that may be ejected at once; the last server never is.

    `check`: finds out in the background whether an ejected server is healthy: the name of a
    method without arguments, or a function of a client, called every `check_every` ms.
    None: after the ejection, one call is the probe.

    Exceptions that the server answers with don't count as failures. Raises TypeError and
    ValueError for values that make no sense.
    """

    __slots__ = _fields = (
        'failures', 'rate', 'window', 'eject', 'max_eject', 'max_share', 'count_timeouts',
        'check', 'check_every',
    )  # fmt: skip
    failures: int
    rate: float | None
    window: float
    eject: float
    max_eject: float
    max_share: float
    count_timeouts: bool
    check: str | Callable[[Any], object] | None
    check_every: float

    def __init__(
        self,
        failures: int = 5,
        rate: float | None = None,
        window: float = 10000,
        eject: float = 1000,
        max_eject: float = 60000,
        max_share: float = 0.5,
        count_timeouts: bool = True,
        check: str | Callable[[Any], object] | None = None,
        check_every: float = 5000,
    ) -> None:
        _at_least('failures', failures, 1, whole=True)
        if rate is not None:
            _share('rate', rate)
        _at_least('window', window, 1)
        _at_least('eject', eject, 1)
        _at_least('max_eject', max_eject, eject)
        _share('max_share', max_share)
        _at_least('check_every', check_every, 1)
        if check is not None and not callable(check) and not (isinstance(check, str) and check):
            raise TypeError(f'check must be a method name or a function, not {check!r}')
        self._set(
            failures=failures,
            rate=rate,
            window=window,
            eject=eject,
            max_eject=max_eject,
            max_share=max_share,
            count_timeouts=bool(count_timeouts),
            check=check,
            check_every=check_every,
        )

    if TYPE_CHECKING:
        replace = _Replace(__init__)


class Hedge(PolicyBase):
    """When a slow call of an idempotent method is sent a second time, in parallel.

    `after`: how many ms after the previous attempt; None: the time within which `percentile`
    percent of the method's recent calls ended. `most`: how many hedges one call may start.
    Calls to several servers at once (those of ReplicatedClient, `map`, split calls) aren't hedged.
    Raises TypeError and ValueError for values that make no sense.
    """

    __slots__ = _fields = ('after', 'percentile', 'most')
    after: float | None
    percentile: float
    most: int

    def __init__(self, after: float | None = None, percentile: float = 95, most: int = 1) -> None:
        if after is not None:
            _at_least('after', after, 0)
        _at_least('percentile', percentile, 1)
        if percentile >= 100:
            raise ValueError(f'percentile must be below 100, not {percentile!r}')
        _at_least('most', most, 1, whole=True)
        self._set(after=after, percentile=percentile, most=most)

    if TYPE_CHECKING:
        replace = _Replace(__init__)


def _classes_or_function(given: Any) -> Any:
    """Return `retry_on` as a tuple of exception classes, or the function."""
    if isinstance(given, type) and issubclass(given, BaseException):
        return (given,)
    if isinstance(given, (tuple, list)):
        # A generator would turn the StopIteration of a signal handler into RuntimeError.
        if all([isinstance(kind, type) and issubclass(kind, BaseException) for kind in given]):  # noqa: C419
            return tuple(given)
    elif callable(given) and not isinstance(given, type):
        return given
    raise TypeError(
        f'retry_on must be exception classes or a function of the exception, not {given!r}'
    )


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
