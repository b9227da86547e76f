"""The parts of every kind of server: a processor, a listener, and the wire's two factories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thrift.protocol.TBinaryProtocol import (
    TBinaryProtocolAcceleratedFactory,
    TBinaryProtocolFactory,
)
from thrift.protocol.TCompactProtocol import (
    TCompactProtocolAcceleratedFactory,
    TCompactProtocolFactory,
)
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift.transport.THeaderTransport import THeaderSubprotocolID
from thrift.transport.TTransport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TTransportException,
)
from thrift.transport.TZlibTransport import TZlibTransport

from thrift_client.core.reader import in_python
from thrift_client.core.service import as_module, service_of
from thrift_client.idl.foreign import processor_with_members
from thrift_client.idl.service import ServiceModule

if TYPE_CHECKING:
    from thrift_client.testing.listener import ServerTransport

START_WITHIN_S = 10.0
# A handler can't be interrupted: if it runs longer, its daemon thread is left, or its process
# killed.
CLOSE_WITHIN_S = 2.0

PROTOCOLS = {
    'binary': TBinaryProtocolAcceleratedFactory,
    'compact': TCompactProtocolAcceleratedFactory,
    'json': TJSONProtocolFactory,
    'header': THeaderProtocolFactory,
}
# The C decoder never returns from TZlibTransport once a message inflates past 4,096 bytes.
PROTOCOLS_OVER_ZLIB = PROTOCOLS | {
    'binary': TBinaryProtocolFactory,
    'compact': TCompactProtocolFactory,
}
HEADER_PROTOCOLS = {
    'binary': THeaderSubprotocolID.BINARY,
    'compact': THeaderSubprotocolID.COMPACT,
}


class ZlibTransportFactory:
    """One transport for each direction of each connection.

    Apache's own factory keeps the last one it made where threads overwrite it for each other, and
    so can hand a connection the transport of another.
    """

    def getTransport(self, trans: Any) -> TZlibTransport:
        """Wrap `trans`."""
        return TZlibTransport(trans)


TRANSPORTS = {
    'buffered': TBufferedTransportFactory,
    'framed': TFramedTransportFactory,
    'zlib': ZlibTransportFactory,
    'header': TBufferedTransportFactory,  # THeaderProtocol brings its own transport
}


@dataclass(frozen=True)
class Parts:
    """What a server is made of; `workers` None is the number that Apache's server has by itself."""

    processor: Any
    listener: ServerTransport
    transports: Any
    protocols: Any
    workers: int | None


class ClosingProcessor:
    """A processor that fails silently once its listener is closed.

    The connections of a closing server break in the middle of requests, and Apache's servers log
    every failure that is not a TTransportException with its traceback.
    """

    def __init__(self, processor: Any, listener: ServerTransport) -> None:
        self._processor = processor
        self._listener = listener

    def on_message_begin(self, func: Any) -> None:
        """Forward to the processor: THttpServer detects oneway calls in this way."""
        self._processor.on_message_begin(func)

    def process(self, iprot: Any, oprot: Any) -> Any:
        """Serve one request."""
        try:
            return self._processor.process(iprot, oprot)
        except Exception as error:
            if self._listener.closing:
                raise TTransportException(TTransportException.END_OF_FILE, 'closed') from error
            raise


def processor_of(service: Any) -> Any:
    """Return the class of a service's processor, whichever kind of service it is."""
    methods = service_of(service).methods.values()
    parts = [(each.name, each.wire_name, each.arguments, each.result) for each in methods]
    module = as_module(service)
    if isinstance(module, ServiceModule):
        return module.Processor
    processor = processor_with_members(module.Processor, parts)
    slow = [method.wire_name for method in methods if not method.has_specs]
    return _slow_processor(processor, slow) if slow else processor


def _slow_processor(generated: Any, slow: list[str]) -> Any:
    """Return a generated `Processor` that doesn't use the C extension for the methods `slow`."""

    class PythonProcessor(generated):
        def __init__(self, handler: Any) -> None:
            super().__init__(handler)
            self._processMap |= {name: _in_python(self._processMap[name]) for name in slow}

    return PythonProcessor


def _in_python(serve: Any) -> Any:
    def serve_in_python(processor: Any, seqid: int, iprot: Any, oprot: Any) -> None:
        in_python(
            lambda iprot: in_python(lambda oprot: serve(processor, seqid, iprot, oprot), oprot),
            iprot,
        )

    return serve_in_python


def make_processor(service: Any, handler: Any, service_name: str | None) -> Any:
    """Make the service's processor, multiplexed if the service has a name."""
    processor = processor_of(service)(handler)
    if service_name is None:
        return processor
    multiplexed = TMultiplexedProcessor()
    multiplexed.registerProcessor(service_name, processor)
    return multiplexed


def make_protocols(protocol: Any, transport: Any) -> Any:
    """Turn the name of a protocol into a factory; a factory is itself."""
    if not isinstance(protocol, str):
        return protocol
    known = PROTOCOLS_OVER_ZLIB if transport == 'zlib' else PROTOCOLS
    if protocol not in known:
        raise ValueError(f'protocol {protocol!r} is none of {", ".join(known)}, nor a factory')
    if transport == 'header' and protocol in HEADER_PROTOCOLS:
        return THeaderProtocolFactory(default_protocol=HEADER_PROTOCOLS[protocol])
    return known[protocol]()


def make_transports(transport: Any) -> Any:
    """Turn the name of a transport into a factory; a factory is itself."""
    if not isinstance(transport, str):
        return transport
    if transport not in TRANSPORTS:
        names = ', '.join(TRANSPORTS)
        raise ValueError(f'transport {transport!r} is none of {names}, nor a factory')
    return TRANSPORTS[transport]()
