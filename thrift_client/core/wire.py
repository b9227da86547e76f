"""Everything that one server's options say about its messages: protocol, framing, limits."""

from __future__ import annotations

from functools import partial

from thrift_client.core.framing import Buffered, Framed, Framing
from thrift_client.core.message import Codec
from thrift_client.core.service import Service
from thrift_client.options import Options

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

FRAMINGS: dict[str, type[Framing]] = {'buffered': Buffered, 'framed': Framed}


class Wire:
    """How calls of one service look to one server; shared by all that look the same."""

    __slots__ = ('codec', 'framing', 'limit')

    def __init__(self, service: Service, options: Options) -> None:
        self.framing = FRAMINGS[options.transport]()
        self.limit: int = options.max_message_size
        self.codec = Codec(service, _protocol_maker(service, options))

    def request(self, method: Any, arguments: Any, seqid: int) -> bytes:
        """The bytes that a connection sends for a call. Raises EncodeError."""
        return self.framing.wrap(self.codec.request(method, arguments, seqid))


_wires: dict[tuple[Any, ...], Wire] = {}


def wire_of(service: Service, options: Options) -> Wire:
    """The wire for these options, made on first use and kept while the process lives."""
    key = (
        service,
        options.protocol,
        options.transport,
        options.max_message_size,
        options.max_container_length,
    )
    wire = _wires.get(key)
    return wire or _wires.setdefault(key, Wire(service, options))


def _protocol_maker(service: Service, options: Options) -> Any:
    """`getProtocol` of the protocol that the options ask for, with their limits.

    An element takes a byte at least, so no honest container has more elements than the
    message may have bytes; old runtimes allocate whatever a container claims.
    """
    if not isinstance(options.protocol, str):
        return options.protocol.getProtocol
    limits = {
        'string_length_limit': options.max_message_size,
        'container_length_limit': options.max_message_size
        if options.max_container_length is None
        else options.max_container_length,
    }
    if options.protocol == 'binary':
        from thrift.protocol import TBinaryProtocol

        accelerated = TBinaryProtocol.TBinaryProtocolAccelerated
        plain = TBinaryProtocol.TBinaryProtocol
        # Without strictRead 64 bytes of zeros pass for an application exception.
        limits |= {'strictRead': True, 'strictWrite': True}
    else:
        from thrift.protocol import TCompactProtocol

        accelerated = TCompactProtocol.TCompactProtocolAccelerated
        plain = TCompactProtocol.TCompactProtocol
    return partial(accelerated if service.accelerated else plain, **limits)
