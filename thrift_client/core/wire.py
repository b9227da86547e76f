"""Everything that one server's options say about its messages: protocol, framing, limits."""

from __future__ import annotations

from functools import partial

from thrift_client.checks import check_headers
from thrift_client.core.codec import Codec
from thrift_client.core.detect import ENOUGH, Speech, explain
from thrift_client.core.service import Service
from thrift_client.core.transports import TRANSPORTS
from thrift_client.options import Options

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from thrift_client.core.transports.base import Channel
    from thrift_client.errors import ThriftClientError


class Wire:
    """How calls of one service look to one server; shared by all that look the same.

    `channel` is the one that serves all connections, where messages look the same on each
    (`plain`); elsewhere it is None, `request` gives the bare message, and each connection's
    own channel wraps it. `framed` says that the shared channel puts lengths in front.
    `apache` is a user's own transport factory, through which messages go instead.
    """

    __slots__ = ('apache', 'channel', 'codec', 'framed', 'limit', 'plain', 'speech', 'transport')

    def __init__(self, service: Service, options: Options) -> None:
        named = isinstance(options.transport, str)
        self.apache: Any = None if named else options.transport
        self.transport: str = options.transport if named else 'apache'
        if options.protocol == 'header':
            self.transport = 'header'
        row = TRANSPORTS.get(self.transport)
        self.plain = row is not None and row.shared and options.sasl is None
        self.framed = self.plain and row is not None and row.delimited
        self.limit: int = options.max_message_size
        protocol = options.protocol if isinstance(options.protocol, str) else 'custom'
        self.speech = Speech(self.transport, protocol, options.ssl is not None)
        maker = _protocol_maker(service, options, ours=named)
        self.codec = Codec(service, maker, options.service_name)
        self.channel: Channel | None = None
        if self.plain and row is not None:
            self.channel = row.open(self, None)()

    @property
    def plans(self) -> dict[Any, Any]:
        """The plans of methods that the small call may use; empty where it is not for them."""
        return self.codec.plans if self.plain and not self.speech.tls else {}

    def request(self, method: Any, arguments: Any, seqid: int) -> bytes:
        """The bytes of a call, as far as they are the same on each connection.

        Raises EncodeError.
        """
        message = self.codec.request(method, arguments, seqid)
        return message if self.channel is None else self.channel.wrap(message, seqid, None)

    def explain(self, error: ThriftClientError, data: bytes) -> ThriftClientError:
        """The error for a reply that begins with `data`: WireMismatch where that tells more."""
        return explain(error, self.speech, data[:ENOUGH])


def wire_of(service: Service, options: Options) -> Wire:
    """Return the wire for these options, made on first use and kept with the service.

    One with a factory of the user's is made each time: nobody knows when such an object
    has had its day.
    """
    if not (isinstance(options.protocol, str) and isinstance(options.transport, str)):
        return Wire(service, options)
    key = (
        options.protocol,
        options.transport,
        options.service_name,
        options.sasl is None,
        options.ssl is None,
        options.max_message_size,
        options.max_container_length,
    )
    wire: Wire = service.wires.get(key) or service.wires.setdefault(key, Wire(service, options))
    return wire


def call_headers(given: Any) -> Mapping[str, str] | None:
    """The headers of one call: the option's value, or what it returns when it is called.

    To be called in the caller's thread. Raises TypeError for what is no dict of texts.
    """
    if not callable(given):
        return given  # type: ignore[no-any-return]
    headers: Mapping[str, str] | None = check_headers('headers', given())
    return headers


def _protocol_maker(service: Service, options: Options, *, ours: bool) -> Callable[[Any], Any]:
    """`getProtocol` of the protocol that the options ask for, with their limits.

    An element takes a byte at least, so no honest container has more elements than the
    message may have bytes; old runtimes allocate whatever a container claims.
    `ours` is False for a user's own transport, which the C decoder may not get along with.
    """
    if not isinstance(options.protocol, str):
        return options.protocol.getProtocol  # type: ignore[no-any-return]
    limits = {
        'string_length_limit': options.max_message_size,
        'container_length_limit': options.max_message_size
        if options.max_container_length is None
        else options.max_container_length,
    }
    accelerate = ours and service.accelerated
    if options.protocol == 'json':
        return _json_maker(options.max_message_size)
    if options.protocol == 'compact':
        from thrift.protocol import TCompactProtocol

        fast = TCompactProtocol.TCompactProtocolAccelerated
        plain = TCompactProtocol.TCompactProtocol
    else:
        from thrift.protocol import TBinaryProtocol

        fast = TBinaryProtocol.TBinaryProtocolAccelerated
        plain = TBinaryProtocol.TBinaryProtocol
        # A reply without the version header is recognized by `Codec`, by more than what is
        # missing; only a user's own transport can't be looked ahead in.
        limits |= {'strictRead': ours, 'strictWrite': True}
    return partial(fast if accelerate else plain, **limits)


def _json_maker(limit: int) -> Callable[[Any], Any]:
    from thrift.protocol.TJSONProtocol import TJSONProtocol, TJSONProtocolBase

    if 'string_length_limit' in TJSONProtocolBase.__init__.__code__.co_varnames:
        return partial(TJSONProtocol, string_length_limit=limit)
    return TJSONProtocol  # type: ignore[no-any-return]
