"""Sources and registrations as users write them: URLs, lists, functions.

    zk://user:password@zk1:2181,zk2:2181/services/kv?by_shard=1
    zk://zk1:2181,zk2:2181/hiveserver2?format=hive
    etcd://etcd1:2379/services/kv/    etcds:// is TLS
    dns://kv.example.com:9090?family=4
    srv://_thrift._tcp.kv.example.com?nameservers=10.0.0.2,10.0.0.3
    file:/etc/kv/servers.yaml?interval=500

The keys after `?` are the keyword arguments of the source's class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack
from urllib.parse import parse_qsl, unquote, urlsplit

from thrift_client import address as addresses
from thrift_client.discovery import etcd, zookeeper
from thrift_client.discovery.dns import DnsSource, SrvSource
from thrift_client.discovery.etcd import EtcdSource
from thrift_client.discovery.file import FileSource
from thrift_client.discovery.polled import CallableSource
from thrift_client.discovery.registration import Registration
from thrift_client.discovery.source import Source, Watchable
from thrift_client.discovery.stable import PolicyOptions
from thrift_client.discovery.static import StaticSource
from thrift_client.discovery.zookeeper import ZooKeeperSource

if TYPE_CHECKING:
    from thrift_client.typed_options import AnySource


class SourceOptions(PolicyOptions, total=False):
    """The keyword arguments of all classes of sources."""

    format: str
    username: str | None
    password: str | None
    endpoint: str | None
    by_shard: bool
    session_timeout: float
    connect_timeout: float
    timeout: float
    ca: str | None
    cert: str | None
    key: str | None
    watch: bool
    interval: float
    family: int | None
    nameservers: Sequence[str]
    min_interval: float


class RegisterOptions(TypedDict, total=False):
    """The keyword arguments of `zookeeper.register` and `etcd.register`."""

    shard: int | None
    weight: float
    additional: Mapping[str, str] | None
    username: str | None
    password: str | None
    acl: Iterable[object] | None
    session_timeout: float
    connect_timeout: float
    timeout: float
    name: str
    metadata: Mapping[str, object] | None
    ttl: float
    ca: str | None
    cert: str | None
    key: str | None


def source(value: AnySource, **options: Unpack[SourceOptions]) -> Watchable:
    """Create a source from a URL, a list or a function.

    `value`: a URL, a list of servers, a function that returns one, or a source. `options`:
    keyword arguments of the source's class, for what should not be in a URL.

    Returns a source, which does nothing until it is watched; a source is returned unchanged.
    Raises ValueError (a URL, a server or an option that can't be right), TypeError (`value` is
    none of these, or options for a source that exists already), ImportError (the source needs
    an extra that is not installed).
    """
    given: dict[str, Any] = {**options}
    if isinstance(value, str):
        return _of_url(value, given)
    if isinstance(value, Watchable):
        if given:
            raise TypeError(f'{value!r} is a source already and takes no options')
        return value
    if isinstance(value, list | tuple):
        return StaticSource(value, **given)
    if callable(value):
        return CallableSource(value, **given)
    raise TypeError(
        f'a source is a URL, a list, a function or an object with `watch`, not {value!r}'
    )


def register(url: str, address: str, **options: Unpack[RegisterOptions]) -> Registration:
    """Register the server at `address` where `zk://` and `etcd://` sources find it.

    `url`: as for `source`. `address`: where clients reach the server. `options`: keyword
    arguments of `zookeeper.register` or `etcd.register`.

    Returns the registration at once; it is kept until it is closed. Raises ValueError,
    TypeError, ImportError (as `source`).
    """
    parts = _split(url)
    if parts.scheme == 'zk':
        given = _options(parts, options, zookeeper.register)
        return zookeeper.register(parts.netloc, parts.path, address, **given)
    if parts.scheme in ('etcd', 'etcds'):
        given = _options(parts, options, etcd.register)
        tls = parts.scheme == 'etcds'
        return etcd.register(parts.netloc, parts.path, address, tls=tls, **given)
    raise ValueError(f'cannot register a server at {redacted(url)!r}: use a zk:// or etcd:// URL')


def redacted(url: str) -> str:
    """Return a URL without credentials, for messages; also for invalid URLs."""
    scheme, _, rest = url.partition(':')
    if scheme.lower() != 'file' or rest.startswith('//'):  # a path may have an @
        url = re.sub(r':(//)?.*@', r':\1***@', url, flags=re.DOTALL)
    return addresses.hide_values(url, 'username')


class _Parts(NamedTuple):
    """The parts of a URL."""

    url: str
    scheme: str
    netloc: str
    path: str
    options: dict[str, Any]


def _of_url(url: str, given: Mapping[str, Any]) -> Watchable:
    parts = _split(url)
    made_by, create = _SCHEMES[parts.scheme]
    return create(parts, _options(parts, given, made_by))


def _zookeeper(parts: _Parts, options: Mapping[str, Any]) -> Source:
    return ZooKeeperSource(parts.netloc, parts.path, **options)


def _etcd(parts: _Parts, options: Mapping[str, Any]) -> Source:
    return EtcdSource(parts.netloc, parts.path, tls=parts.scheme == 'etcds', **options)


def _dns(parts: _Parts, options: Mapping[str, Any]) -> Source:
    target = addresses.parse(_name(parts))
    return DnsSource(target.host, target.port or 0, **options)


def _srv(parts: _Parts, options: Mapping[str, Any]) -> Source:
    return SrvSource(_name(parts), **options)


def _file(parts: _Parts, options: Mapping[str, Any]) -> Source:
    if parts.netloc or not parts.path:
        written = redacted(parts.url)
        raise ValueError(f"a file is written 'file:/path' or 'file:path', not {written!r}")
    return FileSource(unquote(parts.path), **options)


# Scheme: the class, whose keyword arguments a URL can set, and what creates it from a URL.
_SCHEMES: dict[str, tuple[type[Source], Callable[[_Parts, Mapping[str, Any]], Source]]] = {
    'zk': (ZooKeeperSource, _zookeeper),
    'etcd': (EtcdSource, _etcd),
    'etcds': (EtcdSource, _etcd),
    'dns': (DnsSource, _dns),
    'srv': (SrvSource, _srv),
    'file': (FileSource, _file),
}

_FLAGS = {'1': True, 'true': True, 'yes': True, '0': False, 'false': False, 'no': False}


def _split(url: str) -> _Parts:
    scheme = url.partition(':')[0].lower()
    if scheme not in _SCHEMES:
        raise ValueError(f'unknown source {addresses.redacted(url)!r}{_nearest(scheme, _SCHEMES)}')
    try:
        split = urlsplit(url)
        query = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
    except ValueError:
        # The text of that error may quote the credentials.
        raise ValueError(f'not a URL: {redacted(url)!r}') from None
    if '@' in url and '@' not in split.netloc and scheme != 'file':
        # What looks like a host or an option is then a part of the credentials.
        raise ValueError(f'credentials need / ? and # written as %2F %3F %23: {redacted(url)!r}')
    if split.fragment:
        raise ValueError(f'a source has no fragment: {redacted(url)!r}')
    userinfo, _, netloc = split.netloc.rpartition('@')
    options: dict[str, Any] = dict(query)
    if len(options) < len(query):
        raise ValueError(f'an option is set twice: {redacted(url)!r}')
    if userinfo:
        username, _, password = userinfo.partition(':')
        options |= {'username': unquote(username), 'password': unquote(password)}
    return _Parts(url, scheme, netloc, split.path, options)


def _name(parts: _Parts) -> str:
    """Return the name in a URL without a path; gRPC writes `dns:///name`."""
    name = parts.netloc or parts.path.removeprefix('/')
    if not name or (parts.netloc and parts.path not in ('', '/')) or '/' in name:
        raise ValueError(f'expected one name: {redacted(parts.url)!r}')
    return name


def _options(
    parts: _Parts, given: Mapping[str, Any], made_by: Callable[..., object]
) -> dict[str, Any]:
    """Return the options in the URL, with the types of `made_by`, and those that were given."""
    known = _known(made_by)
    options: dict[str, Any] = {}
    for key, text in parts.options.items():
        if key not in known:
            raise ValueError(
                f'unknown option {key!r} in {redacted(parts.url)!r}{_nearest(key, known)}'
            )
        try:
            options[key] = _READERS[key](text)
        except (ValueError, KeyError):
            raise ValueError(f'bad value of {key!r} in {redacted(parts.url)!r}') from None
    return options | dict(given)


def _known(made_by: Callable[..., object]) -> list[str]:
    """Return the keyword arguments that a URL can set."""
    parameters = inspect.signature(made_by).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names += PolicyOptions.__annotations__
    return [name for name in names if name in _READERS]


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(','))


_READERS: dict[str, Callable[[str], Any]] = (
    dict.fromkeys(
        (
            *('grace', 'retry', 'max_retry', 'interval', 'min_interval'),
            *('timeout', 'session_timeout', 'connect_timeout', 'ttl', 'weight'),
        ),
        float,
    )
    | dict.fromkeys(('allow_empty', 'by_shard', 'watch'), _flag)
    | dict.fromkeys(
        ('username', 'password', 'endpoint', 'ca', 'cert', 'key', 'name', 'format'), str
    )
    | dict.fromkeys(('family', 'shard'), int)
    | {'nameservers': _names}
)


def _nearest(word: str, known: Collection[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    listed = f'known are {", ".join(known)}'
    return f'; did you mean {close[0]!r}? ({listed})' if close else f'; {listed}'
