"""The options of clients and pools: one table, frozen values, validated once.

A value that was not given is absent, which is something else than None: a pool hands
what it was given to its SimpleClients, `add_server` and a URL override it, and only then
do the defaults of the table fill the rest.
"""

from __future__ import annotations

from thrift_client.checks import check_headers, check_sasl, check_text, check_tls
from thrift_client.policy import CircuitBreaker, Hedge, RetryPolicy

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


PROTOCOLS = ('binary', 'compact', 'json', 'header')
TRANSPORTS = ('buffered', 'framed', 'zlib', 'header', 'http')

#: Apache's own factories stand for the names, which speak the same and keep deadlines.
APACHE_FACTORIES = {
    'TBufferedTransportFactory': 'buffered',
    'TFramedTransportFactory': 'framed',
    'TZlibTransportFactory': 'zlib',
    'THeaderProtocolFactory': 'header',
}


class Option:
    """One row of the table: `check(name, value)` gives the value to keep, or raises."""

    __slots__ = ('check', 'default', 'text')

    def __init__(self, default: Any, check: Callable[[str, Any], Any], text: str) -> None:
        self.default = default
        self.check = check
        self.text = text


def wrong(name: str, value: object, expected: str) -> ValueError:
    """The error for a value that an option can't have."""
    return ValueError(f'{name} must be {expected}, not {value!r}')


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} must be a number, not {value!r}')


def milliseconds(name: str, value: Any) -> float | None:
    """A duration above 0, or None for no limit."""
    if value is None:
        return None
    _number(name, value)
    if not value > 0:
        raise wrong(name, value, 'above 0 ms, or None for no limit')
    return None if value == float('inf') else value


def _count(least: int, none: bool) -> Callable[[str, Any], int | None]:
    def check(name: str, value: Any) -> int | None:
        if value is None and none:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f'{name} must be an int, not {value!r}')
        if value < least:
            raise wrong(name, value, f'at least {least}')
        return value

    return check


def _one_of(names: tuple[str, ...], has: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value not in names:
                raise wrong(name, value, f'one of {", ".join(names)}{nearest(value, names)}')
        elif not callable(getattr(value, has, None)):
            raise TypeError(
                f'{name} must be one of {", ".join(names)}, or an Apache {name} factory '
                f'(it has {has}), not {value!r}'
            )
        elif type(value).__module__.startswith('thrift.'):
            return APACHE_FACTORIES.get(type(value).__name__, value)
        return value

    return check


def _policy(kind: type, none: bool) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind) and not (none and value is None):
            raise TypeError(f'{name} must be a {kind.__name__}, not {value!r}')
        return value

    return check


def _elements(value: Any) -> tuple[Any, ...] | None:
    """What a list, or a generator that gives it once, holds; None for what holds nothing."""
    return tuple(value) if hasattr(value, '__iter__') else None


def _idempotent(name: str, value: Any) -> frozenset[str] | bool:
    if isinstance(value, bool):
        return value
    methods = None if isinstance(value, str) else _elements(value)
    if methods is None or not all(isinstance(method, str) for method in methods):
        raise TypeError(f'{name} must be True or a list of method names, not {value!r}')
    return frozenset(methods)


def check_timeouts(name: str, value: Any) -> dict[str, float | None] | None:
    """A dict of method names and durations, or None."""
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(method, str) for method in value):
        raise TypeError(f'{name} must be a dict of method names and ms, not {value!r}')
    return {method: milliseconds(f'{name}[{method!r}]', ms) for method, ms in value.items()}


def check_methods(options: Options, methods: Iterable[str]) -> None:
    """Raise ValueError where an option names a method that the service doesn't have."""
    idempotent = () if isinstance(options.idempotent, bool) else options.idempotent
    for option, names in (('idempotent', idempotent), ('timeouts', options.timeouts or ())):
        for name in names:
            if name not in methods:
                raise ValueError(f'{option}: no method {name!r}{nearest(name, methods)}')


def is_idempotent(value: frozenset[str] | bool, method: str) -> bool:
    """Whether a method may safely run twice."""
    return value if isinstance(value, bool) else method in value


def _filename(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise TypeError(f'{name} must be the path of a file, not {value!r}')
    return value


def _listeners(name: str, value: Any) -> tuple[Any, ...]:
    listeners = None if callable(value) else _elements(value)
    if listeners is None or not all(callable(listener) for listener in listeners):
        raise TypeError(f'{name} must be a list of callables that take an event, not {value!r}')
    return listeners


OPTIONS: dict[str, Option] = {
    'timeout': Option(60000, milliseconds, 'budget of a whole call in ms; None: no limit'),
    'timeouts': Option(
        None, check_timeouts, 'budgets of single methods in ms, by name; None there: no limit'
    ),
    'protocol': Option(
        'binary', _one_of(PROTOCOLS, 'getProtocol'), 'a name or an Apache protocol factory'
    ),
    'transport': Option(
        'buffered', _one_of(TRANSPORTS, 'getTransport'), 'a name or an Apache transport factory'
    ),
    'ssl': Option(None, check_tls, 'True (system CAs, host name checked) or an ssl.SSLContext'),
    'service_name': Option(None, check_text, 'the name of a multiplexed service'),
    'sasl': Option(None, check_sasl, 'a dict: mechanism, username, password, service, …'),
    'headers': Option(
        None, check_headers, 'HTTP or THeader headers: a dict, or a callable for each call'
    ),
    'connect_timeout': Option(
        None, milliseconds, "cap in ms on one connect inside the call's budget; None: no cap"
    ),
    'max_connections': Option(
        None, _count(1, none=True), 'most connections to one server; None: no limit'
    ),
    'max_idle': Option(8, _count(0, none=False), 'most idle connections kept to one server'),
    'idle_timeout': Option(
        60000, milliseconds, 'an idle connection older than this, in ms, is closed; None: never'
    ),
    'max_age': Option(
        None, milliseconds, 'a connection older than this, in ms, is closed; None: never'
    ),
    'max_message_size': Option(16384000, _count(1, none=False), 'most bytes of a reply'),
    'max_container_length': Option(
        None, _count(0, none=True), 'most elements of one list, set or map; None: no limit'
    ),
    'retry': Option(RetryPolicy(), _policy(RetryPolicy, none=False), 'a RetryPolicy'),
    'idempotent': Option((), _idempotent, 'names of methods that may run twice, or True for all'),
    'circuit_breaker': Option(None, _policy(CircuitBreaker, none=True), 'a CircuitBreaker'),
    'hedge': Option(None, _policy(Hedge, none=True), 'a Hedge, for idempotent methods'),
    'log_filename': Option(None, _filename, 'append every request to this file, for replay'),
    'listeners': Option((), _listeners, 'callables that are told of events'),
}

#: What `with_options` may change: all that concerns one call and no connection.
CALL_OPTIONS = ('timeout', 'retry', 'idempotent', 'hedge', 'headers')


#: Options whose values are never shown.
SECRET = ('sasl', 'headers')


class Options:
    """What was given, checked: an immutable mapping with the defaults behind it."""

    __slots__ = ('_given', *OPTIONS)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, given: Mapping[str, Any]) -> None:
        checked = {name: row_of(name).check(name, value) for name, value in given.items()}
        object.__setattr__(self, '_given', checked)
        for name, row in OPTIONS.items():
            object.__setattr__(self, name, checked.get(name, row.default))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'options are immutable; cannot set {name}')

    def __repr__(self) -> str:
        shown = (f'{k}={"…" if k in SECRET else repr(v)}' for k, v in self._given.items())
        return f'Options({", ".join(shown)})'

    def replace(self, given: Mapping[str, Any]) -> Options:
        """These options with some values changed; a `timeout` then holds for every method."""
        if 'timeout' in given:
            given = {'timeouts': None, **given}
        return Options({**self._given, **given}) if given else self

    def timeout_of(self, method: str) -> float | None:
        """The budget of a call of one method, in ms; None for no limit."""
        timeouts: Mapping[str, float | None] | None = self.timeouts
        limit: float | None = self.timeout
        return limit if timeouts is None else timeouts.get(method, limit)


def row_of(name: str) -> Option:
    """The option of that name. Raises TypeError for an unknown one."""
    try:
        return OPTIONS[name]
    except KeyError:
        raise TypeError(f'unknown option {name!r}{nearest(name, OPTIONS)}') from None


def with_frame(given: dict[str, Any], frame: object) -> dict[str, Any]:
    """The options with `frame=True` spelled as `transport='framed'`."""
    if not frame:
        return given
    if given.get('transport', 'framed') != 'framed':
        raise ValueError(f"frame=True contradicts transport={given['transport']!r}")
    return {**given, 'transport': 'framed'}


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean …?' where one of `names` is like `name`, else ''."""
    from difflib import get_close_matches

    matches = get_close_matches(name, list(names), 1)
    return f'; did you mean {matches[0]!r}?' if matches else ''


def check_count(name: str, value: Any, least: int) -> int:
    """A number of things, at least so many."""
    count = _count(least, none=False)(name, value)
    assert count is not None
    return count


def check_max_threads(value: Any) -> int | None:
    """The most threads of a pool, None for the default."""
    return _count(1, none=True)('max_threads', value)
