"""Everything that one server's options say about its messages: protocol, framing, limits."""

from __future__ import annotations

from functools import partial
from weakref import WeakValueDictionary

from thrift_client.core.framing import Buffered, Framed, Framing
from thrift_client.core.message import Codec
from thrift_client.core.service import Service
from thrift_client.core.sniff import ENOUGH, Speech, explain
from thrift_client.options import Options

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.errors import ThriftClientError

FRAMINGS: dict[str, Framing] = {'buffered': Buffered(), 'framed': Framed()}


class Wire:
    """How one server is spoken to, whatever the service; shared by all that look the same.

    `plain` says that the bytes of a message are the same on every connection; elsewhere
    each connection's channel wraps it. `apache` is a user's own transport factory, through
    which messages go instead. `make_protocol(transport)` is what an Apache protocol
    factory's `getProtocol` is, `make_pure` the same without the C extension.
    """

    __slots__ = (
        'apache', 'codecs', 'framing', 'limit', 'make_protocol', 'make_pure', 'plain', 'speech',
        'transport', '__weakref__',
    )  # fmt: skip

    def __init__(self, options: Options) -> None:
        named = isinstance(options.transport, str)
        self.apache: Any = None if named else options.transport
        self.transport: str = options.transport if named else 'apache'
        if options.protocol == 'header':
            self.transport = 'header'
        self.plain = self.transport in FRAMINGS and options.sasl is None
        self.framing = FRAMINGS[self.transport] if self.plain else FRAMINGS['buffered']
        self.limit: int = options.max_message_size
        protocol = options.protocol if isinstance(options.protocol, str) else 'custom'
        self.speech = Speech(self.transport, protocol, options.ssl is not None)
        self.make_protocol = _protocol_maker(options, accelerate=named)
        self.make_pure = _protocol_maker(options, accelerate=False)
        self.codecs: dict[tuple[Service, str | None], Codec] = {}

    def explain(self, error: ThriftClientError, data: bytes) -> ThriftClientError:
        """The error for a reply that begins with `data`: WireMismatch where that tells more."""
        return explain(error, self.speech, data[:ENOUGH])


def codec_of(service: Service, wire: Wire, service_name: str | None) -> Codec:
    """The codec of a service on a wire, made on first use and kept with the wire."""
    key = service, service_name
    codec = wire.codecs.get(key)
    return codec or wire.codecs.setdefault(key, Codec(service, wire, service_name))


_wires: WeakValueDictionary[tuple[Any, ...], Wire] = WeakValueDictionary()


def wire_of(options: Options) -> Wire:
    """The wire for these options, shared as long as anybody uses it.

    One with a factory of the user's is made each time: nobody knows when such an object
    has had its day.
    """
    if not (isinstance(options.protocol, str) and isinstance(options.transport, str)):
        return Wire(options)
    key = (
        options.protocol,
        options.transport,
        options.sasl is None,
        options.ssl is None,
        options.max_message_size,
        options.max_container_length,
    )
    wire = _wires.get(key)
    if wire is None:
        wire = _wires.setdefault(key, Wire(options))
    return wire


def _protocol_maker(options: Options, *, accelerate: bool) -> Callable[[Any], Any]:
    """`getProtocol` of the protocol that the options ask for, with their limits.

    An element takes a byte at least, so no honest container has more elements than the
    message may have bytes; old runtimes allocate whatever a container claims.
    `accelerate` is False for transports that the C decoder may not get along with.
    """
    if not isinstance(options.protocol, str):
        return options.protocol.getProtocol  # type: ignore[no-any-return]
    limits = {
        'string_length_limit': options.max_message_size,
        'container_length_limit': options.max_message_size
        if options.max_container_length is None
        else options.max_container_length,
    }
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
        # Without strictRead 64 bytes of zeros pass for an application exception.
        limits |= {'strictRead': True, 'strictWrite': True}
    return partial(fast if accelerate else plain, **limits)


def _json_maker(limit: int) -> Callable[[Any], Any]:
    from thrift.protocol.TJSONProtocol import TJSONProtocol, TJSONProtocolBase

    if 'string_length_limit' in TJSONProtocolBase.__init__.__code__.co_varnames:
        return partial(TJSONProtocol, string_length_limit=limit)
    return TJSONProtocol  # type: ignore[no-any-return]
