"""What callers give: the correct spelling of what they get wrong, and calls of their functions."""

from __future__ import annotations

from contextvars import ContextVar

from thrift_client.outside import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from typing import Any

_SASL = "sasl={'mechanism': 'PLAIN', 'username': …, 'password': …}"
_CONTEXT = 'ssl=ssl.create_default_context(cafile=VALUE)'

#: Names that options have in other libraries: (the option here, how it is written). `VALUE` is
#: what was given.
_ELSEWHERE = {
    'address': ('transport', 'host=…'),
    'balance': ('transport', 'BalancedClient(service, …, balance=VALUE)'),
    'ca': ('ssl', _CONTEXT),
    'ca_certs': ('ssl', _CONTEXT),
    'cafile': ('ssl', _CONTEXT),
    'failover': ('transport', 'HashClient(service, …, failover=VALUE)'),
    'framed': ('transport', "frame=True or transport='framed'"),
    'hostname': ('transport', 'host=…'),
    'max_pool_size': ('max_connections', 'max_connections=VALUE'),
    'max_retries': ('retry', 'retry=RetryPolicy(attempts=VALUE)'),
    'password': ('sasl', _SASL),
    'pool_size': ('max_connections', 'max_connections=VALUE'),
    'read_timeout': ('timeout', 'timeout=VALUE'),
    'recv_timeout': ('timeout', 'timeout=VALUE'),
    'replicas': ('transport', 'HashClient(service, …, replicas=VALUE)'),
    'retries': ('retry', 'retry=RetryPolicy(attempts=VALUE)'),
    'request_timeout': ('timeout', 'timeout=VALUE'),
    'retry_policy': ('retry', 'retry=VALUE'),
    'routing': ('transport', 'HashClient(service, …, routing=VALUE)'),
    'servers': ('transport', 'a pool, such as BalancedClient(service, servers=VALUE)'),
    'socket_timeout': ('timeout', 'timeout=VALUE'),
    'ssl_context': ('ssl', 'ssl=context'),
    'timeout_ms': ('timeout', 'timeout=VALUE'),
    'tls': ('ssl', 'ssl=True'),
    'url': ('transport', 'host=…'),
    'use_ssl': ('ssl', 'ssl=True'),
    'username': ('sasl', _SASL),
}

#: What such names mean in the constructor of a pool.
_IN_POOLS = {
    **dict.fromkeys(('address', 'host', 'hostname', 'hosts', 'nodes', 'url'), 'servers=[…]'),
    **dict.fromkeys(('merge', 'wait_for'), 'pool.with_options(NAME=VALUE)'),
    'weight': 'pool.add_server(…, weight=VALUE)',
}

#: How the sources of a pool's servers begin.
_SOURCES = ('zk:', 'etcd:', 'etcds:', 'dns:', 'srv:', 'file:')

#: Names that a policy's fields have in other libraries.
_FIELDS_ELSEWHERE = {
    'delay': 'after',
    'failure_threshold': 'failures',
    'max_delay': 'max_backoff',
    'max_retries': 'attempts',
    'recovery_timeout': 'eject',
    'reset_timeout': 'eject',
    'retries': 'attempts',
    'threshold': 'failures',
    'tries': 'attempts',
}

#: The keys of `sasl=`, including those of single mechanisms.
_SASL_KEYS = (
    'mechanism', 'username', 'password', 'service', 'host', 'principal', 'identity',
    'authorization_id', 'callback', 'qops', 'mutual_auth', 'max_buffer',
)  # fmt: skip

#: Names that these keys have in other libraries.
_SASL_ELSEWHERE = {
    'login': 'username',
    'pass': 'password',
    'pwd': 'password',
    'sasl_host': 'host',
    'user': 'username',
}

#: What a policy is called if it is to do nothing.
_OFF = {'retry': 'RetryPolicy(attempts=1)'}


def ask(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the caller, whose exceptions are the caller's mistakes."""
    return function(*args)


async def ask_for(awaitable: Awaitable[Any]) -> Any:
    """Return what a coroutine function of the caller returns."""
    return await awaitable


class Asked:
    """What a `headers=` function returned or raised before its call went to another thread.

    `submit` asks it in the thread that calls it, and the call finds the answer in its context.
    It took `seconds`.
    """

    __slots__ = ('_error', '_headers', 'function', 'seconds')

    def __init__(
        self, function: Callable[[], Any], headers: Any, error: Exception | None, seconds: float
    ) -> None:
        self.function = function
        self._headers = headers
        self._error = error
        self.seconds = seconds

    def headers(self) -> Any:
        """Return what the function returned. Raises what it raised."""
        if self._error is None:
            return self._headers
        try:
            raise self._error
        finally:
            del self  # the traceback holds this frame: a cycle


#: The answer for the call that was submitted with this context.
asked: ContextVar[Asked | None] = ContextVar('thrift_client.asked', default=None)


def answer_of(function: Callable[[], Any]) -> Asked | None:
    """Return what a function was asked for this context; None if it wasn't."""
    found = asked.get()
    return found if found is not None and found.function is function else None


#: The code that calls the caller's functions. Its frames mark what these raise.
_ASKING = (ask.__code__, ask_for.__code__)


def is_callers(exc: BaseException) -> bool:
    """Tell whether code of the caller raised this, and not the call itself.

    That is a function that the call asked, or a signal handler. Both may use other clients, so
    they can raise any error of this library.
    """
    entry = exc.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code in _ASKING:
            return True
        entry = entry.tb_next
    return is_foreign(exc)


def unless_coroutine(name: str, value: Any) -> Any:
    """Return what the function given as `name` returned; TypeError if it is to be awaited."""
    if hasattr(value, '__await__'):
        getattr(value, 'close', bool)()  # a coroutine would warn that it was never awaited
        raise TypeError(f'{name} returned a coroutine, which nothing awaits: use a plain function')
    return value


def is_plain(value: Any) -> bool:
    """Tell whether a value is callable, and no coroutine function."""
    from inspect import iscoroutinefunction

    return callable(value) and not any(map(iscoroutinefunction, (value, type(value).__call__)))


def did_you_mean(spelling: str) -> str:
    """Return the end of an error's text that gives the correct spelling."""
    return f'; did you mean {spelling}?' if spelling else ''


def nearest(name: str, names: Iterable[str]) -> str:
    """Return '; did you mean …?' if one of `names` other than itself is like `name`, else ''."""
    try:
        from difflib import get_close_matches
    except OSError as exc:  # no descriptor is left to import it
        if is_foreign(exc):
            raise
        return ''
    matches = get_close_matches(name, [known for known in names if known != name], 1)
    return did_you_mean(repr(matches[0])) if matches else ''


def of_name(given: str, names: Collection[str]) -> str:
    """Return the hint for a name that is not one of `names`, such as a class of Apache's."""
    within = [name for name in names if name in given.lower()]
    return did_you_mean(repr(within[0])) if within else nearest(given, names)


def of_option(name: str, value: Any, names: Collection[str]) -> str:
    """Return the hint for an option that doesn't exist; `names` are those that do."""
    option, spelling = _ELSEWHERE.get(name, ('', ''))
    if 'servers' in names and name in _IN_POOLS:
        option, spelling = 'servers', _IN_POOLS[name].replace('NAME', name)
    if option in names:
        return did_you_mean(spelling.replace('VALUE', repr(value)))
    return nearest(name, names)


def of_key(name: str, names: Collection[str]) -> str:
    """Return the hint for a key that a URL can't set; `names` are those that it can."""
    option, _ = _ELSEWHERE.get(name, ('', ''))
    if option in names and option != 'transport':  # whose spellings are of Python
        return did_you_mean(repr(option))
    return nearest(name, names)


def of_field(name: str, fields: Collection[str]) -> str:
    """Return the hint for a field that a policy doesn't have."""
    meant = _FIELDS_ELSEWHERE.get(name)
    return did_you_mean(repr(meant)) if meant in fields else nearest(name, fields)


def of_sasl(given: Iterable[Any]) -> str:
    """Return a misspelled key of `sasl=` with its hint, '' if there is none.

    Any other unknown key is passed on to the mechanism.
    """
    for key in given:
        if isinstance(key, str) and key not in _SASL_KEYS:
            meant = _SASL_ELSEWHERE.get(key)
            hint = did_you_mean(repr(meant)) if meant else nearest(key, _SASL_KEYS)
            if hint:
                return f'{key!r}{hint}'
    return ''


def of_frame(value: Any) -> str:
    """Return the hint for a timeout in the place of `frame`."""
    return did_you_mean(f'timeout={value!r}' if isinstance(value, (int, float)) else '')


def of_factory(value: Any, names: Iterable[str], has: str) -> str:
    """Return the hint for a class of Apache's, or what it makes, in the place of a factory."""
    if callable(getattr(value, has, None)):
        return did_you_mean(f'{value.__name__}()')
    kind = value if isinstance(value, type) else type(value)
    return did_you_mean(next((repr(name) for name in names if name in kind.__name__.lower()), ''))


def of_policy(name: str, kind: Any, value: Any) -> str:
    """Return the hint for a value of an option that should be a policy of class `kind`."""
    if value is None or value is False or value == 0:
        return did_you_mean(f'{name}={_OFF.get(name)}')
    if value is True or value is kind:
        return did_you_mean(f'{name}={kind.__name__}()')
    if isinstance(value, (int, float)):
        return did_you_mean(f'{name}={kind.__name__}({kind._fields[0]}={value!r})')
    return ''


def of_retry(method: Any, value: Any) -> str:
    """Return the hint for what a method has in a dict of policies: a number, or the class."""
    if getattr(value, '__name__', '') == 'RetryPolicy':
        return did_you_mean(f'{method!r}: RetryPolicy()')
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return ''
    return did_you_mean(f'{method!r}: RetryPolicy(attempts={value!r})')


def of_context(value: Any) -> str:
    """Return the hint for `ssl=` with the path of a CA file."""
    path = _CONTEXT.replace('VALUE', repr(value))
    return did_you_mean(path if isinstance(value, str) and value else '')


def of_host(value: Any) -> str:
    """Return the hint for an address that is a pair of host and port, as sockets take it."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[0], str):
        return did_you_mean(repr(f'{value[0]}:{value[1]}'))
    return ''


def of_address(given: str, shown: str) -> str:
    """Return the hint for an address that can't be right; `shown` has no credentials."""
    if '://' not in given and '@' in given:
        return f' with credentials: pass {_SASL} instead'
    if _is_source(given) or ('://' not in given and ',' in given):
        return did_you_mean(f'{_servers(shown)} of a pool')
    if '://' in given:
        return ''
    scheme = 'unix:' if given.startswith('/') else 'http://'
    return did_you_mean(repr(scheme + shown) if '/' in given else '')


def of_service(value: Any) -> str:
    """Return the hint for a text in the place of a service."""
    if isinstance(value, (list, tuple)) or (isinstance(value, str) and set(value) & {':', ','}):
        return '; the service is the first argument, before the address'
    return did_you_mean('the module itself, without quotes' if isinstance(value, str) else '')


def of_server(value: Any) -> str:
    """Return the hint for a server's name or address in the place of a client."""
    if is_pair(value):
        return f': use remove_server(host={value[0]!r}, port={value[1]})'
    return f': use remove_server(name={value!r})' if isinstance(value, str) else ''


def of_servers(value: Any) -> str:
    """Return the hint for addresses that are not in a list, or a source that is not a URL."""
    return did_you_mean(_servers(value))


def is_pair(value: Any) -> bool:
    """Tell whether this is one server as sockets take it: a host and a port."""
    return (
        isinstance(value, (tuple, list)) and len(value) == 2
        and isinstance(value[0], str) and type(value[1]) is int
    )  # fmt: skip


def _servers(value: Any) -> str:
    if is_pair(value):
        value = f'{value[0]}:{value[1]}'
    if not isinstance(value, str):
        return f'servers={[*value]!r}'
    if not _is_source(value):
        return f'servers={[part.strip() for part in value.split(",")]!r}'
    scheme, _, rest = value.partition(':')
    url = value if scheme == 'file' else f'{scheme}://{rest.lstrip("/")}'
    return f'servers={url!r}'


def _is_source(given: str) -> bool:
    """Tell whether a text is meant as a source: its host is not just named like a scheme."""
    scheme, _, rest = given.partition(':')
    return f'{scheme}:' in _SOURCES and not rest.partition(',')[0].isdigit()
