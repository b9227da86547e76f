"""Which cookies go back to a server, and that neither their number nor their dates do harm."""

import time
import warnings

import pytest

from thrift_client.core.transports.cookies import (
    MOST_BYTES,
    MOST_COOKIES,
    MOST_IN_ALL,
    Cookies,
    seconds_of_date,
)

NOW = 1e9  # Sun, 09 Sep 2001 01:46:40 GMT
LATER, EARLIER = 'Sun, 09 Sep 2001 02:00:00 GMT', 'Sun, 09 Sep 2001 01:00:00 GMT'


class Clock:
    """Seconds since the epoch."""

    now = NOW

    def __call__(self):
        return self.now


def cookies(*lines, path='/a/b', secure=False, clock=None):
    """Return the cookies of one address after a response with these Set-Cookie headers."""
    jar = Cookies('www.Example.org', path, secure=secure, wall_clock=clock or Clock())
    jar.keep(lines)
    return jar


@pytest.mark.parametrize(
    ('line', 'sent'),
    [
        ('a=1', 'a=1'),
        ('a=1; HttpOnly; SameSite=Lax', 'a=1'),
        (' a = "x y" ;Path=/', 'a="x y"'),
        ('a=1=2', 'a=1=2'),
        ('a=', 'a='),
        ('a=1; Path=/a', 'a=1'),
        ('a=1; Path=/a/', 'a=1'),
        ('a=1; Path=/a/b', 'a=1'),
        ('a=1; Path=/a/bc', None),
        ('a=1; Path=/b', None),
        ('a=1; Domain=example.org', 'a=1'),
        ('a=1; Domain=.example.org', 'a=1'),
        ('a=1; Domain=www.example.org', 'a=1'),
        ('a=1; Domain=ample.org', None),
        ('a=1; Domain=other.org', None),
        ('a=1; Secure', None),
        (f'a=1; Expires={LATER}', 'a=1'),
        (f'a=1; Expires={EARLIER}', None),
        (f'a=1; Max-Age=10; Expires={EARLIER}', 'a=1'),
        ('a=1; Max-Age=0', None),
        ('a=1; Max-Age=-1', None),
        ('a=1; Max-Age=' + '9' * 400, 'a=1'),
        ('a', None),
        ('=a', None),
        ('', None),
        ('a=\r\nX: y', None),
        ('a=b\tc', None),
        ('a=é', None),
        ('é=a', None),
        ('a=\x85', None),
        ('a=\xa0', None),
        ('a=' + 'x' * MOST_BYTES, None),
    ],
)
def test_a_cookie_is_sent_back(line, sent):
    """A cookie is sent if address, time and size are as a browser requires."""
    assert cookies(line).header() == sent


def test_secure_cookies_go_over_tls():
    """Cookies marked secure are sent over TLS."""
    assert cookies('a=1; Secure', secure=True).header() == 'a=1'


def test_the_query_is_no_part_of_the_path():
    """A path is compared without it."""
    assert cookies('a=1; Path=/a/b', path='/a/b?x=/').header() == 'a=1'


def test_a_cookie_expires():
    """A cookie that was valid when it was set is no longer sent after its time."""
    clock = Clock()
    jar = cookies('a=1; Max-Age=10', 'b=2', clock=clock)
    assert jar.header() == 'a=1; b=2'
    clock.now += 11
    assert jar.header() == 'b=2'
    assert len(jar) == 1


def test_a_new_value_replaces_the_old_one():
    """A new value replaces the old one, and one that has expired removes it."""
    jar = cookies('a=1', 'b=1')
    jar.keep(['a=2'])
    assert jar.header() == 'b=1; a=2'
    jar.keep(['a=; Max-Age=0', 'b=3; Path=/a'])
    assert jar.header() == 'b=3; b=1'


def test_there_are_no_more_than_a_browser_keeps():
    """The number of cookies is bounded, however many a server sets."""
    jar = cookies(*[f'a{n}=1' for n in range(10 * MOST_COOKIES)])
    assert len(jar) == MOST_COOKIES
    for n in range(10 * MOST_COOKIES):
        jar.keep([f'b{n}=' + 'x' * 4000])
    assert len(jar.header()) <= MOST_IN_ALL + 4 * MOST_COOKIES
    assert f'b{10 * MOST_COOKIES - 1}=' in jar.header()


@pytest.mark.skipif(not hasattr(time, 'tzset'), reason='the time zone of a process is fixed')
@pytest.mark.parametrize(
    'text',
    [
        'Sun, 06 Nov 1994 08:49:37 GMT',
        'Sunday, 06-Nov-94 08:49:37 GMT',
        'Sun Nov  6 08:49:37 1994',
        'Sun, 06 Nov 1994 08:49:37 -0000',
    ],
)
def test_every_form_of_a_date_is_in_utc(text, monkeypatch):
    """The client's own time zone doesn't matter."""
    try:
        with monkeypatch.context() as patched:
            patched.setenv('TZ', 'XYZ+5')
            time.tzset()
            assert seconds_of_date(text) == 784111777
    finally:
        time.tzset()


@pytest.mark.parametrize(
    'text', ['', 'x', 'Mon, 99 Foo 99999 99:99:99', '9' * 10_000, 'Thu, 01 Jan 0000 00:00:00 GMT',
             'Fri, 31 Dec 9999 23:59:59 -9999', '1' * 60, ',' * 60, '\x00']
)  # fmt: skip
def test_a_date_that_is_none_is_ignored(text):
    """An invalid date causes neither a warning nor an error."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert seconds_of_date(text) is None or isinstance(seconds_of_date(text), float)
        assert cookies(f'a=1; Expires={text}').header() in ('a=1', None)
