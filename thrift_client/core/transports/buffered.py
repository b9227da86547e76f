"""Buffered: messages with nothing between them, so that only decoding finds their ends."""

from __future__ import annotations

from io import BytesIO

from thrift_client.core.transports.base import Channel, Transport, protocol_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thrift_client.core.transports.base import Peer


class Plain(Channel):
    """The bytes of messages, unchanged."""

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """Return the message."""
        return message

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message as far as it has arrived."""
        return BytesIO(data)


_PLAIN = Plain()


def _open(limit: int, protocol: str, peer: Peer | None) -> Callable[[], Channel]:  # noqa: ARG001
    return lambda: _PLAIN


TRANSPORT = Transport(
    'buffered', _open, protocol_of, delimited=False, shared=True, in_sasl=True
)
