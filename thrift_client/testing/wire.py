"""Thrift messages on the server's side: reads whole requests, makes replies."""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer

from thrift_client.core.service import Method, service_of

_CHUNK = 65536
_PROTOCOLS = {'binary': TBinaryProtocol, 'compact': TCompactProtocol}


class Unfinished(Exception):
    """The connection ended in the middle of a request."""


class Malformed(Exception):
    """The bytes received are not a request."""


class UnknownMethod(Exception):
    """The service has no such method."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read to its last byte."""

    method: str
    seqid: int
    oneway: bool
    args: Any
    raw: bytes

    def first_argument(self) -> Any:
        """Return the argument with the lowest field id, or None if there is none."""
        fields = [field for field in getattr(self.args, 'thrift_spec', ()) if field]
        return getattr(self.args, fields[0][2]) if fields else None


class RequestReader:
    """Reads a connection, never more of it than was asked for.

    It has the two methods by which Apache's protocols read, so that a request can be decoded
    straight from the socket, and keeps the bytes read since `begin`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ahead = b''
        self.seen = bytearray()

    def begin(self) -> bool:
        """Wait for the first byte of a request; return False if the peer closed instead."""
        self.seen.clear()
        if not self._ahead:
            self._ahead = self._connection.recv(1)
        return bool(self._ahead)

    def read(self, size: int) -> bytes:
        """Wait for some bytes, at most `size`; return none at the end of the stream."""
        data, self._ahead = self._ahead, b''
        if not data:
            data = self._connection.recv(min(size, _CHUNK))
        self.seen += data
        return data

    def readAll(self, size: int) -> bytes:
        """Wait for exactly `size` bytes.

        Raises Unfinished (the stream ended before).
        """
        data = bytearray()
        while len(data) < size:
            piece = self.read(size - len(data))
            if not piece:
                raise Unfinished
            data += piece
        return bytes(data)

    def drain(self) -> None:
        """Read and discard everything until the peer closes."""
        while self._connection.recv(_CHUNK):
            pass


class MessageCodec:
    """Encodes and decodes the messages of one service.

    `service`: of any kind that clients accept, or None if nothing is to be decoded beyond the
    name of a method. `protocol`: 'binary' or 'compact'. `framed`: whether each message has its
    length in front.
    """

    def __init__(
        self, service: ModuleType | None, protocol: str = 'binary', *, framed: bool = False
    ) -> None:
        if protocol not in _PROTOCOLS:
            raise ValueError(f'protocol {protocol!r} is none of {sorted(_PROTOCOLS)}')
        self._service = service
        self.protocol = protocol
        self.framed = framed

    def read(self, source: RequestReader) -> Request:
        """Wait for the last byte of a request and decode it.

        Raises Unfinished (the stream ended before) and Malformed (it is not a request, or its
        frame holds more than a request).
        """
        if not self.framed:
            return self._decode(source, source.seen)
        (size,) = struct.unpack('!i', source.readAll(4))
        if size < 0:
            raise Malformed(f'frame length {size}')
        body = TMemoryBuffer(source.readAll(size))
        request = self._decode(body, source.seen)
        if rest := body.read(-1):
            raise Malformed(f'{len(rest)} bytes after the request in its frame')
        return request

    def _decode(self, transport: Any, seen: bytearray) -> Request:
        protocol = self._over(transport)
        try:
            name, message_type, seqid = protocol.readMessageBegin()
            if message_type not in {TMessageType.CALL, TMessageType.ONEWAY}:
                raise Malformed(f'message type {message_type}')
            method = name.rpartition(':')[2]
            known = self._method(method)
            args = known.arguments() if known else None
            if args is None:
                protocol.skip(TType.STRUCT)
            else:
                args.read(protocol)
            protocol.readMessageEnd()
        except (OSError, Unfinished, Malformed):
            raise
        except Exception as error:
            raise Malformed(repr(error)) from error
        return Request(method, seqid, message_type == TMessageType.ONEWAY, args, bytes(seen))

    def _over(self, transport: Any) -> Any:
        if self.protocol == 'binary':
            return TBinaryProtocol(transport, strictRead=True)
        return TCompactProtocol(transport)

    def knows(self, request: Request) -> bool:
        """Return whether the service, if there is one, has the request's method."""
        return self._service is None or request.args is not None

    def unknown_method(self, request: Request) -> bytes:
        """Encode what Apache's servers answer to a method that they don't know."""
        error = TApplicationException(
            TApplicationException.UNKNOWN_METHOD, f'Unknown function {request.method}'
        )
        return self.frame(
            self.message(request.method, TMessageType.EXCEPTION, request.seqid, error.write)
        )

    def _method(self, name: str) -> Method | None:
        """Find a method by its wire name, inherited or not."""
        if self._service is None:
            return None
        methods = service_of(self._service).methods.values()
        return next((method for method in methods if method.wire_name == name), None)

    def result(self, method: str) -> Any:
        """Return an empty result of a method.

        Raises LookupError (the method is oneway, or unknown).
        """
        found = self._method(method)
        if found is None or found.oneway:
            raise LookupError(f'no result class for method {method!r}')
        return found.result()

    def message(
        self, name: str, message_type: int, seqid: int, write_body: Callable[[Any], None]
    ) -> bytes:
        """Encode one message, without a frame.

        `name`: the method's name. `message_type`: one of `TMessageType`, or any other number
        for a faulty message. `seqid`: the sequence id. `write_body`: is given the protocol and
        writes the struct that follows the header.
        """
        buffer = TMemoryBuffer()
        protocol = self._over(buffer)
        protocol.writeMessageBegin(name, message_type, seqid)
        write_body(protocol)
        protocol.writeMessageEnd()
        return bytes(buffer.getvalue())

    def frame(self, payload: bytes) -> bytes:
        """Put the length in front, if messages are framed."""
        return struct.pack('!i', len(payload)) + payload if self.framed else payload
