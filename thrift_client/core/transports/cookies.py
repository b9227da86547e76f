"""The cookies of one HTTP client, which has one address (RFC 6265)."""

from __future__ import annotations

from thrift_client.core.failures import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The minimum that RFC 6265 asks of a client: cookies of one site, and bytes of one cookie.
MOST_COOKIES = 50
MOST_BYTES = 4096
#: The most bytes of all cookies together: more than servers accept in a request's head.
MOST_IN_ALL = 1 << 14


class Cookies:
    """The cookies that a server has set; if there are too many, the oldest are dropped.

    `host`, `path` and `secure` are those of the address. `wall_clock` returns seconds since
    the epoch, by which cookies expire. Every change replaces the dict as a whole, so that
    nothing needs a lock.
    """

    __slots__ = ('_cookies', '_host', '_path', '_secure', '_wall_clock')

    def __init__(
        self, host: str, path: str, *, secure: bool, wall_clock: Callable[[], float]
    ) -> None:
        self._host = host.lower()
        self._path = path.partition('?')[0]
        self._secure = secure
        self._wall_clock = wall_clock
        #: By name and path: the value, and when it expires.
        self._cookies: dict[tuple[str, str], tuple[str, float | None]] = {}

    def empty(self) -> Cookies:
        """Return a place for cookies of the same address."""
        return Cookies(
            self._host, self._path, secure=self._secure, wall_clock=self._wall_clock
        )

    def __len__(self) -> int:
        return len(self._cookies)

    def header(self) -> str | None:
        """Return the Cookie header of the next request; None without cookies."""
        if not self._cookies:
            return None
        now = self._wall_clock()
        live = {
            key: (value, expires)
            for key, (value, expires) in self._cookies.items()
            if expires is None or expires > now
        }
        if len(live) < len(self._cookies):
            self._cookies = live
        # Longer paths are first; among equals, older cookies.
        ordered = sorted(live.items(), key=lambda item: -len(item[0][1]))
        return '; '.join(f'{name}={value}' for (name, _), (value, _) in ordered) or None

    def keep(self, lines: Iterable[str]) -> None:
        """Keep what the Set-Cookie headers of a response set; any others are left out."""
        cookies = dict(self._cookies)
        for line in list(lines)[:MOST_COOKIES]:
            self._set(cookies, line)
        size = sum(len(key[0]) + len(value[0]) for key, value in cookies.items())
        while len(cookies) > MOST_COOKIES or size > MOST_IN_ALL:
            oldest = next(iter(cookies))
            size -= len(oldest[0]) + len(cookies.pop(oldest)[0])
        self._cookies = cookies

    def _set(self, cookies: dict[tuple[str, str], tuple[str, float | None]], line: str) -> None:
        pair, *rest = line.split(';')
        name, equals, value = (part.strip(' \t') for part in pair.partition('='))
        if not equals or not name or len(pair) > MOST_BYTES:
            return
        if not (pair.isascii() and pair.isprintable()):  # no header of a request may have it
            return
        attributes = {}
        for part in rest:
            attribute, _, text = part.partition('=')
            attributes[attribute.strip(' \t').lower()] = text.strip(' \t')
        if not self._applies(attributes):
            return
        path = attributes.get('path', '')
        key = name, path if path.startswith('/') else ''
        expires = self._expiry(attributes)
        cookies.pop(key, None)
        if expires is None or expires > self._wall_clock():
            cookies[key] = value, expires

    def _applies(self, attributes: dict[str, str]) -> bool:
        """Tell whether a cookie is for the address."""
        if 'secure' in attributes and not self._secure:
            return False
        domain = attributes.get('domain', '').removeprefix('.').lower()
        if domain and self._host != domain and not self._host.endswith(f'.{domain}'):
            return False
        path = attributes.get('path', '')
        if not path.startswith('/') or self._path == path:
            return True
        return self._path.startswith(path if path.endswith('/') else f'{path}/')

    def _expiry(self, attributes: dict[str, str]) -> float | None:
        """Return when a cookie expires, in seconds since the epoch; None: with the client."""
        age = attributes.get('max-age', '')
        digits = age.removeprefix('-')
        if digits.isascii() and digits.isdigit():
            return self._wall_clock() + (float(digits[:12]) if digits == age else -1.0)
        return seconds_of_date(attributes.get('expires', ''))


def seconds_of_date(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None for what is not one.

    All of HTTP's dates are in UTC, even in the form of C's asctime, which doesn't say so.
    """
    if not text or len(text) > 64:
        return None
    from datetime import UTC
    from email.utils import parsedate_to_datetime  # takes as long as all the rest to import

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, LookupError, ArithmeticError) as exc:
        if is_foreign(exc):
            raise
        return None
