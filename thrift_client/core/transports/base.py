"""The interface of a transport: a row in the registry, and a channel for each connection."""

from __future__ import annotations

from thrift_client.errors import DecodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BytesIO
    from typing import Any, Protocol

    from thrift_client.address import Address

    class Peer(Protocol):
        """What a transport may know about the server and the way to it (`handshake.Link`)."""

        address: Address
        tls_name: str | None
        wall_clock: Callable[[], float]

        def choose_http_way(self) -> tuple[str, str, tuple[str, str] | None]:
            """See `Link.choose_http_way`."""

    class Assembler(Protocol):
        """One reply arriving in pieces; `feed` and `end` give the message once it is whole.

        `end` is told that the server closed the connection. If `space` is not None, the next
        bytes are to be received into it, and `filled` is called with their number.
        """

        @property
        def started(self) -> bool:
            """Whether any of it has arrived."""

        @property
        def space(self) -> memoryview | None:
            """The buffer for the next bytes; None if it isn't known."""

        def feed(self, data: bytes) -> BytesIO | None:
            """Take bytes in."""

        def filled(self, count: int) -> BytesIO | None:
            """Note bytes received into `space`."""

        def end(self) -> BytesIO | None:
            """Note the end of the connection."""


class Channel:
    """Wraps messages for one connection, and finds them in the bytes that it receives.

    It does no I/O: its driver sends what `wrap` returns, and tries `whole` on the first bytes
    that arrive. If that returns None, or a message that can't be decoded, the same bytes are
    fed to an `IncomingReply`, which calls the other methods.

    `delimited` says that the end of a reply is known before it is decoded: `assembler` then
    collects each reply. Otherwise `received` turns bytes into bytes of messages. `reusable`
    says whether the connection may carry another call. `answers_oneway` says that a oneway call
    may get a reply. `reply_headers` are those of the last reply, None where the transport has
    none. `inner` is the beginning of the last reply without its wrapping, if the raw bytes
    don't show what it is.
    """

    delimited = False
    answers_oneway = False
    reusable = True
    reply_headers: Mapping[str, str] | None = None
    inner: bytes | None = None

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """Return the bytes to send for a message. Raises EncodeError for impossible headers."""
        raise NotImplementedError

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message, at its beginning, if `data` is exactly one whole reply.

        None means that it is not, or that an `IncomingReply` has to decide. If only decoding
        finds the end, it is the message as far as it has arrived. Raises nothing.
        """
        raise NotImplementedError

    def received(self, data: bytes) -> bytes:
        """Return the bytes of messages in `data`; only if not delimited."""
        return data

    def assembler(self) -> Assembler:
        """Return an object that collects the next reply; only if delimited."""
        raise TypeError(f'{self!r} has no ends')

    def own_session(self, session: Any) -> Any:  # noqa: ARG002 - HTTP has one
        """Keep state (cookies) apart from the client's other connections; returns that state.

        `session`: the state that another connection returned, to share it; None: a new one.
        """
        return None

    def clarify(self, error: DecodeError, message: bytes) -> DecodeError:  # noqa: ARG002
        """Return the error for a message that can't be decoded, with details from the channel."""
        return error


class Transport:
    """A row of the registry.

    `open(limit, protocol, peer)` is called once per client, with the longest message in bytes
    and the protocol's name, and returns a function that creates the channel of each connection.
    `shared` says that messages look the same on every connection: one channel serves all,
    `peer` is None, and a small call needs no channel. `headers` says that calls and replies may
    have headers, `in_sasl` that SASL may go around it, `schemes` which URL schemes imply it.
    `protocol_in(data)` returns the protocol of a reply that begins with `data`, None if it is
    not this transport's, '' if that isn't known. `hint` is what to set for a server that speaks
    it.
    """

    __slots__ = (
        'delimited', 'headers', 'hint', 'in_sasl', 'name', 'open', 'protocol_in', 'schemes',
        'shared',
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        open: Callable[[int, str, Peer | None], Callable[[], Channel]],
        protocol_in: Callable[[bytes], str | None],
        *,
        delimited: bool,
        shared: bool = False,
        headers: bool = False,
        in_sasl: bool = False,
        schemes: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        self.name = name
        self.open = open
        self.protocol_in = protocol_in
        self.delimited = delimited
        self.shared = shared
        self.headers = headers
        self.in_sasl = in_sasl
        self.schemes = schemes
        self.hint = hint or f'transport={name!r}'

    def __repr__(self) -> str:
        return f'<Transport {self.name}>'


def protocol_of(data: bytes) -> str | None:
    """Return the protocol whose messages begin like this, None for no protocol."""
    if data[:2] == b'\x80\x01':
        return 'binary'
    # The upper bits of the second byte are the message's type.
    if data[:1] == b'\x82' and data[1:2] and data[1] & 0x1F == 1:
        return 'compact'
    if data[:3] == b'[1,':
        return 'json'
    return 'binary' if is_unversioned(data) else None


def is_unversioned(data: bytes) -> bool:
    """Tell whether a binary message without the version header begins like this.

    That is the length of the method's name, the name, and the type of a reply.
    """
    size = int.from_bytes(data[:4], 'big')
    name, kind = data[4 : 4 + size], data[4 + size : 5 + size]
    if not 0 < size < 256 or not (name.isascii() and name.decode().isidentifier()):
        return False
    return kind in (b'\2', b'\3') or (not kind and len(name) >= 8)
