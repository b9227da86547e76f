"""What a server's address and options say about connections to it, apart from messages.

One per client, shared by its connections: whom to dial, what to say before TLS and
before the first message, and which channel each connection gets.
"""

from __future__ import annotations

from thrift_client.core import http, sasl
from thrift_client.core.channel import Channel, Plain, Zlib
from thrift_client.core.framing import Buffered, Framed
from thrift_client.errors import AuthError, ConnectError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options

    #: Yields what to send and is sent what arrived (b'': the end of the stream).
    Talk = Generator[bytes, bytes, None]


class Link:
    """The way to one server.

    `dial` is the (host, port) to connect to: the server's own or its proxy's. `tls_name`
    is the name that the server's certificate must have, None without TLS.
    """

    def __init__(self, address: Address, options: Options, wire: Wire) -> None:
        self._address = address
        self._options = options
        self._wire = wire
        self.dial: tuple[str, int | None] = address.host, address.port
        self.tls_name: str | None = None
        if options.ssl is not None:
            host = address.host if address.port is not None else 'localhost'
            self.tls_name = (options.server_hostname or host).removesuffix('.')
        self._site: http.Site | None = None
        self._tunnel: tuple[str, tuple[str, str] | None] | None = None
        if wire.transport == 'http':
            self._set_up_http()

    def before_tls(self) -> Talk | None:
        """What to say to a proxy before TLS begins."""
        if self._tunnel is None:
            return None
        return _open_tunnel(*self._tunnel)

    def log_in(self, given: Any) -> tuple[Any, Talk | None]:
        """A client for SASL and its negotiation, for the value of `sasl=`; None and None without."""
        if given is None:
            return None, None
        client = sasl.make_client(self.tls_name or self._address.host, given)
        return client, sasl.log_in(client, given)

    def channel(self, sasl_client: Any = None) -> Channel | None:
        """The channel of a new connection; None where messages need none."""
        wire = self._wire
        channel: Channel | None = None
        if wire.transport == 'zlib':
            channel = Zlib(wire.limit)
        elif wire.transport == 'header':
            from thrift_client.core.header import Header

            channel = Header(wire.speech.protocol, wire.limit)
        elif self._site is not None:
            channel = http.Http(self._site, wire.limit)
        if sasl_client is not None:
            framing = Framed() if wire.transport == 'framed' else Buffered()
            channel = sasl.Sasl(sasl_client, channel or Plain(framing, wire.limit), wire.limit)
        return channel

    def _set_up_http(self) -> None:
        from thrift_client.address import join

        address, tls = self._address, self.tls_name is not None
        try:
            import h11  # noqa: F401 - so that a missing extra shows when the client is made
        except ImportError as exc:
            raise ImportError(
                "HTTP needs h11: pip install 'thrift_client[http]'", name=exc.name
            ) from exc
        scheme, default = ('https', 443) if tls else ('http', 80)
        host = 'localhost'
        if address.port is not None:
            host = join(address.host, address.port)
            host = host.removesuffix(f':{default}')
        path = address.path or '/'
        url = f'{scheme}://{host}{path}'
        proxy = _proxy_for(scheme, address)
        proxy_credentials = None
        target = path
        if proxy is not None:
            self.dial = proxy.host, proxy.port
            if tls:
                where = join(address.host, address.port)
                self._tunnel = where, proxy.credentials
            else:
                target, proxy_credentials = url, proxy.credentials
        self._site = http.Site(
            host,
            target,
            url,
            credentials=address.credentials,
            proxy_credentials=proxy_credentials,
        )


def _proxy_for(scheme: str, address: Address) -> Address | None:
    """The proxy that the environment names for an address: http_proxy, https_proxy, no_proxy."""
    from urllib.request import (  # type: ignore[attr-defined]
        getproxies_environment,
        proxy_bypass_environment,
    )

    from thrift_client.address import parse, redacted

    if address.port is None:
        return None
    proxy = getproxies_environment().get(scheme)
    if not proxy or proxy_bypass_environment(f'{address.host}:{address.port}'):
        return None
    if '://' not in proxy:
        proxy = f'http://{proxy}'
    if not proxy.startswith('http://'):
        raise ValueError(f'{scheme}_proxy must be an http:// URL, not {redacted(proxy)!r}')
    return parse(proxy)


def _open_tunnel(where: str, credentials: tuple[str, str] | None) -> Talk:
    """Ask a proxy to connect to `where` (RFC 9110, section 9.3.6)."""
    lines = [f'CONNECT {where} HTTP/1.1', f'Host: {where}']
    if credentials is not None:
        lines.append(f'Proxy-Authorization: {http.authorization(credentials)}')
    to_send = '\r\n'.join((*lines, '', '')).encode()
    answer = b''
    while b'\r\n\r\n' not in answer:
        received = yield to_send
        to_send = b''
        answer += received
        if not received or len(answer) > sasl.MAX_CHALLENGE:
            raise ConnectError(
                f'the proxy gave no answer to CONNECT {where}', phase='connecting'
            )
    first = answer.partition(b'\r\n')[0].decode('latin-1')
    status = ''.join(first.split()[1:2])
    if status == '407':
        raise AuthError(
            f'the proxy wants to know who asks: {first!r}',
            phase='connecting',
            hint='put user and password into https_proxy',
        )
    if not status.startswith('2'):
        raise ConnectError(
            f'the proxy refused to connect to {where}: {first!r}', phase='connecting'
        )
