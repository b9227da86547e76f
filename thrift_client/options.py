"""The options of clients and pools: one table, checked once, frozen.

A value that was not given is absent, which is not the same as None: a pool passes what it was
given to its SimpleClients, `add_server` and then a URL override it, and the rest gets the
defaults of the table. The documentation, the URL's query and the command line's flags come from
this table; the types that checkers see are in `typed_options.pyi`.
"""

from __future__ import annotations

from math import inf

from thrift_client import mistakes
from thrift_client.address import checked_host
from thrift_client.policies import CircuitBreaker, Hedge, RetryPolicy

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

PROTOCOLS = ('binary', 'compact', 'json', 'header')
TRANSPORTS = ('buffered', 'framed', 'zlib', 'header', 'http')  # modules of core.transports

#: Apache's own factories are replaced by these names: the same bytes, but deadlines hold.
APACHE_FACTORIES = {
    'TBufferedTransportFactory': 'buffered',
    'TFramedTransportFactory': 'framed',
    'TZlibTransportFactory': 'zlib',
    'THeaderProtocolFactory': 'header',
}

#: The texts that turn an option on or off.
TRUE, FALSE = ('1', 'true', 'yes', 'on'), ('0', 'false', 'no', 'off')

#: Headers that `propagate_deadline=True` sends: the time left in ms, the attempt's number.
DEADLINE_HEADERS = {'deadline': 'Deadline-Budget', 'attempt': 'Retry-Attempt'}


def wrong(name: str, value: object, expected: str, hint: str = '') -> ValueError:
    """Make the error for a value that an option can't have."""
    return ValueError(f'{name} must be {expected}, not {value!r}{hint}')


# The checks: each gives the value to keep, or raises TypeError or ValueError.


def milliseconds(name: str, value: Any) -> float | None:
    """Check a duration: above 0, or None for no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'{name} must be a number of ms (5000 is 5 s), not {value!r}')
    if not value > 0:
        raise wrong(name, value, 'above 0 ms, or None for no limit')
    return None if value == inf else value


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


def check_count(name: str, value: Any, least: int) -> int:
    """Check a count: an int of at least `least`."""
    count = _count(least, none=False)(name, value)
    assert count is not None
    return count


def check_max_threads(value: Any) -> int | None:
    """Check the maximum number of threads of a pool; None for the default."""
    return _count(1, none=True)('max_threads', value)


def _one_of(names: tuple[str, ...], has: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value not in names:
                known = f'one of {", ".join(names)}'
                raise wrong(name, value, known, mistakes.of_name(value, names))
        elif isinstance(value, type) or not callable(getattr(value, has, None)):
            text = f'{name} must be one of {", ".join(names)}, or an Apache {name} factory'
            hint = mistakes.of_factory(value, names, has)
            raise TypeError(f'{text} (it has {has}), not {value!r}{hint}')
        elif type(value).__module__.startswith('thrift.'):
            return APACHE_FACTORIES.get(type(value).__name__, value)
        return value

    return check


def _policy(kind: type) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value is not None and not isinstance(value, kind):
            text = f'{name} must be a {kind.__name__}, not {value!r}'
            raise TypeError(text + mistakes.of_policy(name, kind, value))
        return value

    return check


def _retry(name: str, value: Any) -> Any:
    """Return a RetryPolicy, or one for each method name, with '*' for all others."""
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, dict) and value:
        for method, policy in value.items():
            if not isinstance(method, str) or not isinstance(policy, RetryPolicy):
                text = f'{name}[{method!r}] must be a RetryPolicy, not {policy!r}'
                raise TypeError(text + mistakes.of_retry(method, policy))
        return dict(value)
    text = f'{name} must be a RetryPolicy or a dict of them by method, not {value!r}'
    raise TypeError(text + mistakes.of_policy(name, RetryPolicy, value))


def _elements(value: Any) -> tuple[Any, ...] | None:
    """Return the elements of a list or an iterator; None for what can't be iterated over."""
    return tuple(value) if hasattr(value, '__iter__') else None


def _idempotent(name: str, value: Any) -> frozenset[str] | bool:
    if isinstance(value, bool):
        return value
    methods = None if isinstance(value, str) else _elements(value)
    if methods is None or not all(isinstance(method, str) for method in methods):
        hint = mistakes.did_you_mean(f'{name}=[{value!r}]' if isinstance(value, str) else '')
        raise TypeError(f'{name} must be True or a list of method names, not {value!r}{hint}')
    return frozenset(methods)


def _timeouts(name: str, value: Any) -> dict[str, float | None] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(method, str) for method in value):
        raise TypeError(f'{name} must be a dict of method names and ms, not {value!r}')
    return {method: milliseconds(f'{name}[{method!r}]', ms) for method, ms in value.items()}


def _filename(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise TypeError(f'{name} must be the path of a file, not {value!r}')
    return value


def _listeners(name: str, value: Any) -> tuple[Any, ...]:
    listeners = None if callable(value) else _elements(value)
    if listeners is None or not all(map(mistakes.is_plain, listeners)):
        raise TypeError(f'{name} must be a list of plain functions of an event, not {value!r}')
    return listeners


def _tls(name: str, value: Any) -> Any:
    if value is None or value is False:
        return None
    if value is not True and not hasattr(value, 'wrap_socket') and not callable(value):
        text = f'{name} must be True, an ssl.SSLContext or a function that returns one'
        raise TypeError(f'{text}, not {value!r}{mistakes.of_context(value)}')
    return value


def _text(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise TypeError(f'{name} must be a non-empty str or None, not {value!r}')
    return value


def _host_name(name: str, value: Any) -> str | None:
    return _text(name, value) and checked_host(value.removesuffix('.'), f'{name}={value}')


def check_sasl(name: str, value: Any) -> Any:
    """Check a dict with a mechanism, or a function. Errors never show it: it has a password."""
    if value is None or callable(value):
        return value
    if isinstance(value, dict) and (misspelled := mistakes.of_sasl(value)):
        raise TypeError(f'{name} has no key {misspelled}')
    if not isinstance(value, dict) or not isinstance(value.get('mechanism'), str):
        raise TypeError(
            f"{name} must be a dict with 'mechanism' ('PLAIN', …) and what that needs, "
            'or a function that returns one'
        )
    return dict(value)


def check_headers(name: str, value: Any) -> Any:
    """Check a dict of str to str, a function that returns one, or None."""
    if value is None or callable(value):
        return value
    if not isinstance(value, dict) or not all(
        isinstance(part, str) for item in value.items() for part in item
    ):
        mistakes.unless_coroutine(name, value)
        raise TypeError(f'{name} must be a dict of str, or a function that returns one')
    return dict(value)


def _function(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f'{name} must be a function of a client, not {value!r}')
    return value


def _arrays(name: str, value: Any) -> str | None:
    if value not in (None, 'numpy'):
        raise wrong(name, value, "'numpy' or None")
    if value is not None:
        try:
            import numpy as np  # noqa: F401 - a missing extra shows when the client is made
        except ImportError as exc:
            raise ImportError(
                "arrays= needs numpy: pip install 'thrift_client[arrays]'", name=exc.name
            ) from exc
    return value  # type: ignore[no-any-return]


def _propagate(name: str, value: Any) -> dict[str, str] | None:
    if value is None or value is False:
        return None
    if value is True:
        return dict(DEADLINE_HEADERS)
    known = ' and '.join(repr(key) for key in DEADLINE_HEADERS)
    if not isinstance(value, dict) or not value:
        raise TypeError(f'{name} must be True or a dict of header names, not {value!r}')
    names = {header.lower() for header in value.values() if isinstance(header, str) and header}
    if not value.keys() <= DEADLINE_HEADERS.keys() or len(names) < len(value):
        raise wrong(name, value, f'True or a dict of different header names with the keys {known}')
    return dict(value)


# Conversions of texts in a URL, a file or the environment to values.


def flag(name: str, text: str) -> bool:
    """Read a text like `1`, `true` or `off`. Raises ValueError for any other."""
    if text.lower() not in TRUE + FALSE:
        raise wrong(name, text, f'one of {", ".join(TRUE + FALSE)}')
    return text.lower() in TRUE


def _number(kind: type[int] | type[float], what: str = 'a number') -> Callable[[str, str], Any]:
    def read(name: str, text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise wrong(name, text, what) from None

    return read


def _timeouts_of(name: str, text: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for part in text.split(','):  # as in getk=100,setk=none
        method, _, ms = part.partition('=')
        found[method] = None if ms.lower() == 'none' else _number(float)(name, ms)
    return found


def _names_or_flag(_name: str, text: str) -> Any:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    return [part for part in text.split(',') if part]


def _as_it_is(_name: str, text: str) -> str:
    return text


class Option:
    """One row of the table.

    `check(name, value)` gives the value to keep, or raises. `level`: 'call' options can be
    changed by `with_options`, 'connection' options cannot. `read(name, text)` makes a value
    of a text in a URL's query; None: a URL can't set it. `member`: a member that a source
    names may set it. `secret`: its value is never shown.
    """

    __slots__ = ('check', 'default', 'level', 'member', 'read', 'secret', 'text')

    def __init__(
        self,
        default: Any,
        check: Callable[[str, Any], Any],
        text: str,
        *,
        level: str = 'connection',
        read: Callable[[str, str], Any] | None = None,
        member: bool = False,
        secret: bool = False,
    ) -> None:
        self.default = default
        self.check = check
        self.text = text
        self.level = level
        self.read = read
        self.member = member
        self.secret = secret


_MS, _INT = _number(float, 'a number of ms (5000 is 5 s)'), _number(int)

OPTIONS: dict[str, Option] = {
    'timeout': Option(
        60000, milliseconds, 'limit of a whole call in ms; None: no limit', level='call', read=_MS
    ),
    'timeouts': Option(
        None, _timeouts, 'limits of single methods in ms, by name; None: no limit',
        read=_timeouts_of,
    ),
    'protocol': Option(
        'binary', _one_of(PROTOCOLS, 'getProtocol'), 'a name or an Apache protocol factory',
        read=_as_it_is, member=True,
    ),
    'transport': Option(
        'buffered', _one_of(TRANSPORTS, 'getTransport'), 'a name or an Apache transport factory',
        read=_as_it_is, member=True,
    ),
    'ssl': Option(
        None, _tls, 'True (system CAs, host name checked), an ssl.SSLContext, or a function '
        'that returns one for each new connection', read=flag,
    ),
    'server_hostname': Option(
        None, _host_name, "the name that the server's certificate must contain, if it is not the "
        'host of the address', read=_as_it_is,
    ),
    'service_name': Option(
        None, _text, 'the name of a multiplexed service', read=_as_it_is, member=True
    ),
    'sasl': Option(
        None, check_sasl, 'a dict: mechanism, username, password, service, host, …, or a function '
        'that returns one for each new connection',
        read=lambda _name, text: {'mechanism': text}, secret=True,
    ),
    'headers': Option(
        None, check_headers, 'HTTP or THeader headers: a dict, or a function called for each call',
        level='call', secret=True,
    ),
    'on_connect': Option(
        None, _function, 'called with a view pinned to each new connection, before it serves calls'
    ),
    'arrays': Option(
        None, _arrays, "'numpy': lists of numbers in replies are numpy arrays", read=_as_it_is
    ),
    'propagate_deadline': Option(
        None, _propagate, 'True or a dict of header names: send the time left and the attempt '
        'in HTTP and THeader headers', read=flag,
    ),
    'connect_timeout': Option(
        None, milliseconds, "limit of one connect in ms, within the call's timeout; None: no limit "
        'of its own', read=_MS,
    ),
    'max_connections': Option(
        None, _count(1, none=True), 'maximum connections to one server; None: no limit', read=_INT
    ),
    'max_idle': Option(
        8, _count(0, none=False), 'maximum idle connections kept to one server', read=_INT
    ),
    'idle_timeout': Option(
        60000, milliseconds, 'a connection that was idle for longer, in ms, is closed; None: never',
        read=_MS,
    ),
    'max_age': Option(
        None, milliseconds, 'a connection older than this, in ms, is closed; None: never', read=_MS
    ),
    'max_message_size': Option(
        16384000, _count(1, none=False), 'maximum bytes of a reply', read=_INT
    ),
    'max_container_length': Option(
        None, _count(0, none=True), 'maximum elements of one list, set or map; None: no limit',
        read=_INT,
    ),
    'retry': Option(
        RetryPolicy(), _retry, 'a RetryPolicy, or a dict of them by method', level='call'
    ),
    'idempotent': Option(
        (), _idempotent, 'names of methods that may safely run twice, or True for all',
        level='call', read=_names_or_flag,
    ),
    'circuit_breaker': Option(None, _policy(CircuitBreaker), 'a CircuitBreaker'),
    'hedge': Option(None, _policy(Hedge), 'a Hedge, for idempotent methods', level='call'),
    'log_filename': Option(
        None, _filename, 'append every request to this file, for replay', read=_as_it_is
    ),
    'listeners': Option((), _listeners, 'functions that get events'),
}  # fmt: skip

#: What `with_options` may change.
CALL_OPTIONS = tuple(name for name, row in OPTIONS.items() if row.level == 'call')


class Options:
    """The options that were given, checked, and the defaults of all others; immutable."""

    __slots__ = ('_given', *OPTIONS)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, given: Mapping[str, Any]) -> None:
        checked = {name: row_of(name, value).check(name, value) for name, value in given.items()}
        object.__setattr__(self, '_given', checked)
        for name, row in OPTIONS.items():
            object.__setattr__(self, name, checked.get(name, row.default))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'options are immutable; cannot set {name}')

    def __repr__(self) -> str:
        shown = (
            f'{k}={"…" if OPTIONS[k].secret else repr(v)}' for k, v in self._given.items()
        )
        return f'Options({", ".join(shown)})'


def row_of(name: str, value: object = None, more: Iterable[str] = ()) -> Option:
    """Return the row of an option; TypeError if it is neither one nor another keyword (`more`)."""
    if name not in OPTIONS:
        hint = mistakes.of_option(name, value, (*OPTIONS, *more))
        raise TypeError(f'unknown option {name!r}{hint}')
    return OPTIONS[name]


def check_methods(given: Mapping[str, Any], methods: Mapping[str, Any]) -> None:
    """Raise ValueError if a checked option names a method that doesn't exist or doesn't fit."""
    check = getattr(given.get('circuit_breaker'), 'check', None)
    named = {key: given.get(key) or () for key in ('idempotent', 'timeouts', 'retry')}
    named['check'] = (check,) if isinstance(check, str) else ()
    for option, names in named.items():
        if isinstance(names, (bool, RetryPolicy)):
            continue
        for name in names:
            if name not in methods and not (option == 'retry' and name == '*'):
                raise ValueError(f'{option}: no method {name!r}{mistakes.nearest(name, methods)}')
            if option == 'check' and methods[name].parameters:
                raise ValueError(f'check: {name!r} has arguments: give a function of a client')


def check_call_options(given: Mapping[str, Any], more: Iterable[str] = ()) -> dict[str, Any]:
    """Check the keywords of `with_options`; those in `more` are left out of the result.

    Raises TypeError for what is not an option of a call, ValueError for a bad value.
    """
    known = (*CALL_OPTIONS, *more)
    for name, value in given.items():
        if name not in known:
            hint = mistakes.of_option(name, value, known)
            raise TypeError(f'with_options() takes {", ".join(known)}, not {name!r}{hint}')
    return {k: OPTIONS[k].check(k, v) for k, v in given.items() if k in CALL_OPTIONS}


def with_frame(given: Mapping[str, Any], frame: object) -> dict[str, Any]:
    """Spell `frame=True` as `transport='framed'`. Raises ValueError for a contradiction."""
    if frame not in (None, False, True):
        raise TypeError(f'frame must be True or False, not {frame!r}{mistakes.of_frame(frame)}')
    if not frame:
        return dict(given)
    if given.get('transport', 'framed') != 'framed':
        raise ValueError(f"frame=True contradicts transport={given['transport']!r}")
    return {**given, 'transport': 'framed'}


def from_query(query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the options that a URL's query sets: its keys are the options, and `frame`.

    Raises ValueError for an unknown key or a text that is not a value of it.
    """
    given: dict[str, Any] = {}
    frame = None
    for name, text in query:
        if name == 'frame':
            frame = flag(name, text)
        elif name not in OPTIONS:
            known = ['frame', *(name for name, row in OPTIONS.items() if row.read is not None)]
            raise ValueError(f'unknown option {name!r} in a URL{mistakes.of_key(name, known)}')
        else:
            given[name] = from_text(name, text)
    if frame is False and given.get('protocol') != 'header':  # a URL overrides frame=True
        given.setdefault('transport', 'buffered')
    return with_frame(given, frame)


def from_text(name: str, text: str) -> Any:
    """Return the value that a text means. Raises ValueError if a text can't set the option."""
    row = row_of(name)
    if row.read is None:
        raise ValueError(f'{name} cannot be set by a text in a URL: pass {name}= in Python')
    value = None if text.lower() == 'none' else row.read(name, text)
    try:
        return row.check(name, value)
    except TypeError as exc:
        raise ValueError(str(exc)) from None
