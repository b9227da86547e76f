"""The `http` transport: what its row says, without the code that only HTTP needs."""

from __future__ import annotations

from thrift_client.core.transports.base import Transport

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from thrift_client.core.transports.base import Channel, Peer


def _open(limit: int, protocol: str, peer: Peer | None) -> Callable[[], Channel]:  # noqa: ARG001
    assert peer is not None
    try:
        import h11  # noqa: F401 - so that a missing extra shows when the client is made
    except ImportError as exc:
        raise ImportError(
            "HTTP needs h11: pip install 'thrift_client[http]'", name=exc.name
        ) from exc
    from thrift_client.core.transports.http_channel import Http
    from thrift_client.core.transports.http_site import Site

    host, target, proxy_credentials = peer.choose_http_way()
    site = Site(
        host,
        target,
        secure=peer.tls_name is not None,
        wall_clock=peer.wall_clock,
        credentials=peer.address.credentials,
        proxy_credentials=proxy_credentials,
    )
    return lambda: Http(site, limit)


def _protocol_in(data: bytes) -> str | None:
    return '' if data.startswith((b'HTTP/', b'<!DOC', b'<html', b'<HTML')) else None


TRANSPORT = Transport(
    'http',
    _open,
    _protocol_in,
    delimited=True,
    headers=True,
    schemes=('http', 'https'),
    hint="the server's http:// URL as host",
)
