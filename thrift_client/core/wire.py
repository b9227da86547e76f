"""Everything that one server's options say about its messages: protocol, framing, limits.

Wires are shared without a lock: storing into a dict is atomic under the GIL, and two threads that
create the same wire at once merely share less. Without the GIL, sharing would need a lock,
because `WeakValueDictionary` is written in Python.
"""

from __future__ import annotations

from functools import partial
from weakref import WeakValueDictionary

from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from thrift_client.core.detect import ENOUGH, Speech, explain
from thrift_client.core.service import Service
from thrift_client.core.transports import TRANSPORTS
from thrift_client.core.transports.base import protocol_of
from thrift_client.options import Options
from thrift_client.outside import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.transports.base import Channel
    from thrift_client.errors import ThriftClientError


#: The name of the protocol that a user's factory makes.
_OWN = 'custom'


class Wire:
    """How to talk to one server, whatever the service; shared by servers with equal options.

    `channel` is the one that serves all connections, if messages look the same on each
    (`plain`); elsewhere it is None, and each connection has its own. `framed` says that the
    shared channel writes the length of each message before it. `apache` is a user's own transport
    factory, which carries the messages instead. `arrays` says what lists of numbers in replies
    become. `make_protocol(transport)` is what an Apache protocol factory's `getProtocol` is,
    `make_pure` the same without the C extension.
    """

    __slots__ = (
        '__weakref__', 'apache', 'arrays', 'channel', 'codecs', 'framed', 'limit',
        'make_protocol', 'make_pure', 'plain', 'speech', 'transport',
    )  # fmt: skip

    def __init__(self, options: Options) -> None:
        named = isinstance(options.transport, str)
        self.apache: Any = None if named else options.transport
        self.transport: str = options.transport if named else 'apache'
        if options.protocol == 'header':
            self.transport = 'header'
        row = TRANSPORTS.get(self.transport)
        self.plain = row is not None and row.shared and options.sasl is None
        self.framed = self.plain and row is not None and row.delimited
        self.limit: int = options.max_message_size
        self.arrays: str | None = options.arrays
        protocol = options.protocol if isinstance(options.protocol, str) else _OWN
        self.speech = Speech(self.transport, protocol, options.ssl is not None)
        self.make_protocol = _protocol_maker(options, ours=named, accelerate=named)
        self.make_pure = _protocol_maker(options, ours=named, accelerate=False)
        #: `codec_of` keeps them here.
        self.codecs: dict[tuple[Service, str | None], Any] = {}
        self.channel: Channel | None = None
        if self.plain and row is not None:
            self.channel = row.open(self.limit, protocol, None)()

    def explain(self, error: ThriftClientError, data: bytes) -> ThriftClientError:
        """Return the error for a reply that begins with `data`; WireMismatch if that says more."""
        if is_foreign(error):
            return error
        if self.speech.protocol == _OWN:
            self.speech.protocol = _spoken_by(self.make_pure)
        return explain(error, self.speech, data[:ENOUGH])


_wires: WeakValueDictionary[tuple[Any, ...], Wire] = WeakValueDictionary()


def wire_of(options: Options) -> Wire:
    """Return the wire for these options, shared as long as it is in use.

    A wire with a user's factory is created each time, because such a factory may be temporary.
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
        options.arrays,
    )
    wire = _wires.get(key)
    return wire if wire is not None else _wires.setdefault(key, Wire(options))


def _protocol_maker(
    options: Options, *, ours: bool, accelerate: bool
) -> Callable[[Any], Any]:
    """Return `getProtocol` of the protocol that the options name, with their limits.

    An element takes at least one byte, so no honest container has more elements than the
    message may have bytes; old runtimes allocate whatever a container claims. `ours` is False
    for a user's own transport, which the C decoder may not get along with.
    """
    if not isinstance(options.protocol, str):
        make: Callable[[Any], Any] = options.protocol.getProtocol
        limit = options.max_container_length
        if limit is None or not limits_containers(options.protocol):
            return make
        return partial(_limited, make, limit)
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
        # `Codec` itself recognizes replies without the version header, by looking ahead; it can't
        # do so in a user's own transport, so there the protocol accepts them.
        limits |= {'strictRead': ours, 'strictWrite': True}
    return partial(fast if accelerate else plain, **limits)


def _spoken_by(make: Callable[[Any], Any]) -> str:
    """Return the name of what the protocols of a user's factory write, if it has one."""
    buffer = TMemoryBuffer()
    make(buffer).writeMessageBegin('ping', TMessageType.CALL, 1)
    return protocol_of(buffer.getvalue()) or _OWN


def limits_containers(factory: Any) -> bool:
    """Tell whether the protocols of a user's factory can have a limit on their containers."""
    protocol = factory.getProtocol(TMemoryBuffer())
    try:
        protocol.container_length_limit = protocol.container_length_limit
    except AttributeError:
        return False
    return True


def _limited(make: Callable[[Any], Any], limit: int, transport: Any) -> Any:
    """Return a protocol of a user's factory, with a limit on its containers."""
    protocol = make(transport)
    own = protocol.container_length_limit
    protocol.container_length_limit = limit if own is None else min(own, limit)
    return protocol


def _json_maker(limit: int) -> Callable[[Any], Any]:
    from thrift.protocol.TJSONProtocol import TJSONProtocolBase

    from thrift_client.core.json_protocol import JsonProtocol

    if 'string_length_limit' in TJSONProtocolBase.__init__.__code__.co_varnames:
        return partial(JsonProtocol, string_length_limit=limit)
    return JsonProtocol
