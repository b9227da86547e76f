"""What a server's address and options say about connecting to it, apart from messages.

Each client has one `Link`, shared by its connections: the address to connect to, what to send
before TLS and before the first message, and the channel of each connection.
"""

from __future__ import annotations

from thrift_client.core.transports import TRANSPORTS, sasl
from thrift_client.core.transports.http_site import authorization
from thrift_client.core.transports.secrets import Secrets
from thrift_client.errors import AuthError, ConnectError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options

    #: Yields what to send and is sent what arrived (b'': the end of the stream).
    Talk = Generator[bytes, bytes, None]

#: The most bytes of a proxy's answer to CONNECT.
_MOST_OF_AN_ANSWER = 1 << 14


class Link:
    """The way to one server.

    `dial` is the (host, port) to connect to: the server's own or its proxy's. `tls_name`
    is the name that the server's certificate must have, None without TLS. `wall_clock`
    returns seconds since the epoch.
    """

    def __init__(
        self, address: Address, options: Options, wire: Wire, wall_clock: Callable[[], float]
    ) -> None:
        self.address = address
        self.wall_clock = wall_clock
        self.dial: tuple[str, int | None] = address.host, address.port
        host = address.host if address.port is not None else 'localhost'
        # It is also the host of the server's principal: an address may be one of a name's.
        self._name = (options.server_hostname or host).removesuffix('.')
        self.tls_name = None if options.ssl is None else self._name
        if isinstance(options.sasl, dict):
            sasl.check_installed(options.sasl)  # fails when a client is created
        self._wire = wire
        self._tunnel: tuple[str, tuple[str, str] | None] | None = None
        # A user's own transport frames its messages itself.
        row = TRANSPORTS.get(wire.transport, TRANSPORTS['buffered'])
        self._new_channel = row.open(wire.limit, wire.speech.protocol, self)

    def before_tls(self) -> Talk | None:
        """Return the exchange with a proxy before TLS begins."""
        if self._tunnel is None:
            return None
        return _open_tunnel(*self._tunnel)

    def log_in(self, given: Any) -> tuple[Any, Talk | None]:
        """Return a client for the value of `sasl=` and its negotiation; None and None without."""
        if given is None:
            return None, None
        given = sasl.with_principal(self._name, given)
        client = sasl.make_client(given)
        return client, sasl.log_in(client, given)

    def channel(self, sasl_client: Any = None) -> Channel:
        """Return the channel of a new connection."""
        channel = self._new_channel()
        if sasl_client is not None:
            channel = sasl.Sasl(sasl_client, channel, self._wire.limit)
        return channel

    def choose_http_way(self) -> tuple[str, str, tuple[str, str] | None]:
        """Choose the way to an HTTP server, direct or by the environment's proxy; set `dial`.

        Returns the Host header, what the request line names, and the credentials for a
        proxy that reads the requests. Raises ValueError for a proxy with another scheme.
        """
        from thrift_client.address import join

        address, tls = self.address, self.tls_name is not None
        scheme, default = ('https', 443) if tls else ('http', 80)
        host = 'localhost'
        if address.port is not None:
            host = join(address.host, address.port).removesuffix(f':{default}')
        target = address.target or '/'
        proxy = _proxy_for(scheme, address)
        if proxy is None:
            return host, target, None
        self.dial = proxy.host, proxy.port
        if not tls:
            return host, f'{scheme}://{host}{target}', proxy.credentials
        self._tunnel = join(address.host, address.port), proxy.credentials
        return host, target, None


def _proxy_for(scheme: str, address: Address) -> Address | None:
    """Return the proxy that the environment names for an address: http_proxy and the like."""
    from urllib.request import (  # type: ignore[attr-defined]
        getproxies_environment,
        proxy_bypass_environment,
    )

    from thrift_client.address import parse
    from thrift_client.address import redacted as redacted_url

    if address.port is None:
        return None
    proxy = getproxies_environment().get(scheme)
    if not proxy or proxy_bypass_environment(f'{address.host}:{address.port}'):
        return None
    if '://' not in proxy:
        proxy = f'http://{proxy}'
    if not proxy.startswith('http://'):
        raise ValueError(f'{scheme}_proxy must be an http:// URL, not {redacted_url(proxy)!r}')
    return parse(proxy)


def _open_tunnel(where: str, credentials: tuple[str, str] | None) -> Talk:
    """Ask a proxy to connect to `where` (RFC 9110, section 9.3.6)."""
    lines = [f'CONNECT {where} HTTP/1.1', f'Host: {where}']
    secrets: tuple[str, ...] = ()
    if credentials is not None:
        secrets = authorization(credentials), credentials[1]
        lines.append(f'Proxy-Authorization: {secrets[0]}')
    to_send = '\r\n'.join((*lines, '', '')).encode()
    answer = b''
    while b'\r\n\r\n' not in answer:
        received = yield to_send
        to_send = b''
        answer += received
        if not received or len(answer) > _MOST_OF_AN_ANSWER:
            raise ConnectError(
                f'the proxy gave no answer to CONNECT {where}', phase='connecting'
            )
    first = Secrets(secrets).hidden_in(answer.partition(b'\r\n')[0]).decode('latin-1')
    status = ''.join(first.split()[1:2])
    if status == '407':
        raise AuthError(
            f'the proxy asks for credentials: {first!r}',
            phase='connecting',
            hint='put user and password into https_proxy',
        )
    if not status.startswith('2'):
        raise ConnectError(
            f'the proxy refused to connect to {where}: {first!r}', phase='connecting'
        )
    if answer.partition(b'\r\n\r\n')[2]:
        raise ConnectError(
            f'bytes follow the answer of the proxy to CONNECT {where}', phase='connecting'
        )
