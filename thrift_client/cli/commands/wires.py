"""One call on every known wire: its bytes, and whether the reply answers it.

The call names a method that no server has. A server that understands it answers with an
exception that repeats the name. No method is run, and nothing else looks like this answer.
"""

from __future__ import annotations

import zlib
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from struct import pack, unpack_from
from typing import Any, NamedTuple

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TMessageType
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase

from thrift_client.core.transports.sasl import START

METHOD = 'thrift_client_probe'
SEQUENCE_ID = 1 << 21  # has the same encoded length as the client's sequence ids

_PROTOCOLS = {'binary': TBinaryProtocol, 'compact': TCompactProtocol, 'json': TJSONProtocol}
_IN_HEADER = {'binary': THeaderSubprotocolID.BINARY, 'compact': THeaderSubprotocolID.COMPACT}


class WireFormat(NamedTuple):
    """A transport and a protocol, by the names of the client's options."""

    transport: str
    protocol: str


#: The commonest first. A framed server closes the connection at once if a request isn't framed;
#: an unframed one may wait for more of a framed request: so unframed comes before framed.
WIRES = (
    WireFormat('buffered', 'binary'),
    WireFormat('framed', 'binary'),
    WireFormat('framed', 'compact'),
    WireFormat('buffered', 'compact'),
    WireFormat('http', 'binary'),
    WireFormat('header', 'binary'),
    WireFormat('zlib', 'binary'),
    WireFormat('buffered', 'json'),
    WireFormat('framed', 'json'),
    WireFormat('http', 'compact'),
    WireFormat('http', 'json'),
    WireFormat('header', 'compact'),
    WireFormat('zlib', 'compact'),
    WireFormat('zlib', 'json'),
)


#: The start of a SASL negotiation.
SASL = WireFormat('sasl', '')
#: A server that requires SASL refuses this mechanism and says so: nobody logs in.
_MECHANISM = b'THRIFT-CLIENT-PROBE'


def request(wire: WireFormat, host: str, path: str, service_name: str | None) -> bytes:
    """Return the bytes of the call; `host` and `path` are for HTTP, `service_name` multiplexes."""
    if wire == SASL:
        return pack('>BI', START, len(_MECHANISM)) + _MECHANISM
    name = METHOD if service_name is None else f'{service_name}:{METHOD}'
    sink = TMemoryBuffer()
    protocol = _protocol(wire, sink)
    protocol.writeMessageBegin(name, TMessageType.CALL, SEQUENCE_ID)
    protocol.writeStructBegin('args')
    protocol.writeFieldStop()
    protocol.writeStructEnd()
    protocol.writeMessageEnd()
    protocol.trans.flush()
    body: bytes = sink.getvalue()
    if wire.transport == 'framed':
        return pack('>I', len(body)) + body
    if wire.transport == 'zlib':
        return zlib.compress(body)
    if wire.transport == 'http':
        head = (
            f'POST {path or "/"} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n'
            f'Content-Type: application/x-thrift\r\nAccept: application/x-thrift\r\n'
            f'Content-Length: {len(body)}\r\n\r\n'
        )
        return head.encode('ascii', 'replace') + body
    return body


def answered(wire: WireFormat, data: bytes) -> str | None:
    """Return the method that these bytes name if they answer the call on this wire, else None.

    A server that isn't multiplexed names the service, too. A part of an answer is none.
    """
    try:
        protocol = _protocol(wire, _Bytes(_unwrapped(wire, data)))
        name, message_type, _ = protocol.readMessageBegin()
    except Exception:  # noqa: BLE001 - whatever a decoder makes of another wire's bytes
        return None
    if isinstance(name, bytes):  # THeaderProtocol
        name = name.decode('ascii', 'replace')
    known = message_type in (TMessageType.EXCEPTION, TMessageType.REPLY)
    return name if known and name.rpartition(':')[2] == METHOD else None


def _protocol(wire: WireFormat, transport: Any) -> Any:
    if wire.transport == 'header':
        return THeaderProtocol(transport, (THeaderClientType.HEADERS,), _IN_HEADER[wire.protocol])
    return _PROTOCOLS[wire.protocol](transport)


def _unwrapped(wire: WireFormat, data: bytes) -> bytes:
    """Unwrap the message from its transport. Raises what fits if it isn't whole."""
    if wire.transport == 'framed':
        (size,) = unpack_from('>I', data)
        if len(data) != 4 + size:
            raise EOFError
        return data[4:]
    if wire.transport == 'zlib':
        return zlib.decompressobj().decompress(data, 1 << 16)
    return _http_body(data) if wire.transport == 'http' else data


def _http_body(data: bytes) -> bytes:
    response = HTTPResponse(_Socket(data))  # type: ignore[arg-type]
    response.begin()
    if response.status != 200:
        raise HTTPException(response.status)
    return response.read()


class _Socket:
    """A stand-in for the socket that HTTPResponse needs."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        """Return a file of the bytes; HTTPResponse reads its answer from it."""
        return BytesIO(self._data)


class _Bytes(TTransportBase):
    """Bytes to read, which end in an error: the JSON decoder would wait forever for more."""

    def __init__(self, data: bytes) -> None:
        self._data = BytesIO(data)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes. Raises EOFError at the end."""
        found = self._data.read(size)
        if size and not found:
            raise EOFError
        return found
