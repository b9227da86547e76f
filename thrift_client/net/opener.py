"""Opens connections to one server: connects, begins TLS, logs in, and gives each its channel."""

from __future__ import annotations

from time import time

from thrift_client.core.call import timed_out
from thrift_client.errors import CallTimeout, ThriftClientError
from thrift_client.net.connect import Connector
from thrift_client.net.connection import Connection
from thrift_client.net.stream import CHUNK, Stream

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Generator

    from thrift_client.address import Address
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.transports.handshake import Link
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options


class Opener:
    """The way to new connections, of one client.

    Raises ImportError, when it is made, for an extra that the options need and that is
    not installed; ValueError for a proxy in the environment that is none.
    """

    __slots__ = ('_connector', '_link', '_options', '_wire')

    def __init__(self, address: Address, wire: Wire, options: Options) -> None:
        self._wire = wire
        self._options = options
        self._link: Link | None = None
        self._connector = Connector(address.host, address.port)
        if not wire.plain or options.ssl is not None:
            from thrift_client.core.transports.handshake import Link

            self._link = Link(address, options, wire, time)
            self._connector = Connector(*self._link.dial)

    def open(self, expires: float | None, now: float) -> Connection:
        """A new connection, ready for its first call, begun at `now` and until `expires`.

        Both are monotonic seconds; `expires` None is no limit. Raises
        ConnectError and its kinds, WireMismatch for a server without TLS, CallTimeout.
        """
        if self._wire.apache is not None:
            from thrift_client.net.apache import ApacheConnection

            # It does what callers of a Connection ask for, in another way.
            return ApacheConnection(  # type: ignore[return-value]
                self._wire, self._connect_alone, expires, now
            )
        stream, channel = self._connect(expires)
        if channel is None or self._wire.plain:
            return Connection(self._wire, stream, self._options.timeout, now)
        from thrift_client.net.conversation import Conversation

        return Conversation(self._wire, stream, self._options.timeout, now, channel)

    def _connect(self, expires: float | None) -> tuple[Stream, Channel | None]:
        stream = Stream(self._connector.connect(expires), self._options.timeout)
        link = self._link
        if link is None:
            return stream, None
        try:
            talk = link.before_tls()
            if talk is not None:
                _hold(talk, stream, expires)
            if link.tls_name is not None:
                stream = self._begin_tls(stream, link.tls_name, expires)
            client, talk = link.log_in()
            if talk is not None:
                _hold(talk, stream, expires)
            return stream, link.channel(client)
        except BaseException:
            stream.close()
            raise

    def _connect_alone(self, expires: float | None) -> Stream:
        return self._connect(expires)[0]

    def _begin_tls(self, stream: Stream, name: str, expires: float | None) -> Stream:
        from thrift_client import secure
        from thrift_client.net import tls

        context = secure.context_of(self._options.ssl)
        return tls.TLSStream(tls.start(stream.sock, context, name, expires))


def _hold(talk: Generator[bytes, bytes, None], stream: Stream, expires: float | None) -> None:
    """Send what a talk yields, and hand it what arrives, until it is over."""
    try:
        to_send = next(talk)
        while True:
            stream.send(to_send, expires)
            received = stream.receive(CHUNK, expires)
            to_send = talk.send(received)
    except StopIteration:
        return
    except CallTimeout:
        raise timed_out('logging in') from None
    except ThriftClientError as exc:
        exc.maybe_executed = False  # no call has been sent
        if exc.phase in ('sending', 'waiting for the reply'):
            exc.phase = 'logging in'
        raise
