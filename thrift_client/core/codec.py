"""A call to request bytes, and reply bytes to a value: Apache's protocols over memory.

Thrift's encoding is not implemented here. The bytes of a message header are taken from the
protocol itself, once per method, for each of the few sequence ids. With the C extension, a
request is then two pieces joined together, and a reply is recognized by comparing its first
bytes with the expected header: same method, same sequence id, a reply.

Threads share codecs and their plans without a lock: what two create at once is equal. Without
the GIL, `next_id` would need a lock.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from itertools import cycle
from struct import Struct

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase

from thrift_client.core.collector import LARGE, without_collector
from thrift_client.core.failures import (
    DECODING,
    ENCODING,
    decode_error,
    is_foreign,
    map_too_large,
    quoted,
    trailing_bytes,
)
from thrift_client.core.paths import encode_error
from thrift_client.core.reader import Incomplete, ReplyReader, in_python
from thrift_client.core.service import Method, Raised, Service
from thrift_client.errors import DecodeError, ReplyMismatch, ThriftClientError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.json_coder import JsonCoder
    from thrift_client.core.wire import Wire

#: Sequence ids cycle through these, which have the same encoded length in every protocol. They
#: are few, so that a method can keep the headers for each. They are enough, because a
#: connection carries one call at a time and is closed after any doubt.
FIRST_ID, IDS = 1 << 21, 1 << 5

#: The types of a TApplicationException about this call, after which the server is in sync.
IN_STEP = frozenset(
    (
        TApplicationException.UNKNOWN,
        TApplicationException.UNKNOWN_METHOD,
        TApplicationException.MISSING_RESULT,
        TApplicationException.INTERNAL_ERROR,
    )
)


#: The sequence id of a new call; a C function that runs undivided in any thread.
next_id: Callable[[], int] = cycle(range(FIRST_ID, FIRST_ID + IDS)).__next__


#: The longest method name of a binary reply without the version header.
_LONGEST_NAME = 255
_INT = Struct('!i')


class MethodPlan:
    """One method on one protocol: everything about it that no call changes."""

    __slots__ = (
        'codec', 'decode', 'encode', 'encode_spec', 'headers', 'method', 'new_result',
        'result_spec', 'returns',
    )  # fmt: skip

    def __init__(self, method: Method, codec: Codec) -> None:
        self.codec = codec
        self.method = method
        self.returns = method.returns
        self.new_result = method.new_result
        calls = codec.numbered(codec.call_name(method), method.message_type)
        replies = codec.numbered(method.wire_name, TMessageType.REPLY)
        #: By sequence id, the message header of a call, and the one that its reply must have.
        self.headers = {i: (calls[i], replies[i]) for i in calls}
        #: Encodes what follows the header: the arguments, and in JSON the end of the message.
        self.encode: Any = codec.encoder
        self.decode: Any = codec.decoder
        self.encode_spec = [method.arguments, method.arguments.thrift_spec]
        self.result_spec = None if method.oneway else [method.result, method.result.thrift_spec]


class _Sink(TTransportBase):
    """Collects what a protocol writes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append


class Codec:
    """A service's messages on one protocol, shared by all connections that speak it.

    `wire` says how to talk to the server. `service_name` is the name under which a multiplexed
    service is registered there.
    """

    def __init__(self, service: Service, wire: Wire, service_name: str | None = None) -> None:
        self.service = service
        self.wire = wire
        self.service_name = service_name
        self.make_protocol = wire.make_protocol if service.accelerated else wire.make_pure
        protocol = self.make_protocol(_Sink())
        self.is_binary = isinstance(protocol, TBinaryProtocol)
        self.json: JsonCoder | None = None
        #: The functions of the C extension, or those of `JsonCoder`; None without either.
        self.encoder: Any = None
        self.decoder: Any = None
        self._streams: bool | None = None
        self._guard: Any = None
        self.plans: dict[Method, MethodPlan] = {}
        if service.accelerated:
            self._accelerate(protocol)
        #: What reads a struct with arrays in place of lists of numbers; None without.
        self.arrays: Any = None
        if wire.arrays is not None:
            from thrift_client.core.arrays import ArrayDecoder

            stops = self.is_binary and wire.apache is None and self._guard is None
            self.arrays = ArrayDecoder(self.decoder, wire.make_protocol if stops else None)
            self.decoder = self.arrays

    def _accelerate(self, protocol: Any) -> None:
        if _is_json(protocol):
            from thrift_client.core.json_coder import JsonCoder

            self.json = JsonCoder()
            self.json.learn(_EXCEPTION)
            self.encoder, self.decoder = self.json.encode, self.json.decode
            return
        self.encoder = getattr(protocol, '_fast_encode', None)
        self.decoder = getattr(protocol, '_fast_decode', None)
        if self.decoder is not None and not _has_depth_limit(self.make_protocol):
            from thrift_client.core.nesting import guarded

            self.decoder = self._guard = guarded(self.decoder, divides=self.streams)

    @property
    def refills(self) -> bool:
        """Whether decoding a reply may read more of it from a blocking socket.

        If not, replies that don't carry their length are read with an `IncomingReply`.
        """
        return self.json is None and self._guard is None and self.streams

    @property
    def divides(self) -> bool:
        """Whether a whole reply is decoded in pieces, to look at the time between them.

        Not for arrays: each would be copied once more.
        """
        return self.refills and self.arrays is None

    @property
    def streams(self) -> bool:
        """Whether the decoder can work on an incomplete reply."""
        if self._streams is None:
            self._streams = self.json is not None or self.encoder is None or _can_refill(self)
        return self._streams

    def protocol(self, reader: ReplyReader) -> Any:
        """Return a protocol for replies that are all in the reader's buffer."""
        protocol = self.make_protocol(reader)
        if self._guard is not None:
            protocol._fast_decode = self._guard
        return protocol

    def make_streaming(self, reader: ReplyReader) -> Any:
        """Return a protocol for a reply that may go on after the end of the reader's buffer."""
        protocol = self.protocol(reader)
        if not self.streams:
            protocol._fast_decode = None  # which makes it read in pure Python
        return protocol

    def call_name(self, method: Method) -> str:
        """Return what a call names; the reply has the method's bare name, multiplexed or not."""
        if self.service_name is None:
            return method.wire_name
        return f'{self.service_name}:{method.wire_name}'

    def plan(self, method: Method) -> MethodPlan | None:
        """Return the plan for coding `method` fast on this protocol; None if it can't be."""
        plan = self.plans.get(method)
        if plan is None and self.encoder is not None and method.has_specs:
            if self.json is not None and not _has_learnt(self.json, method):
                return None
            plan = self.plans.setdefault(method, MethodPlan(method, self))
        return plan

    def numbered(self, name: str, message_type: int) -> dict[int, bytes]:
        """Return, by sequence id, the message header that the protocol writes."""
        sink = _Sink()
        protocol = self.make_protocol(sink)
        headers = {}
        for seqid in range(FIRST_ID, FIRST_ID + IDS):
            protocol.writeMessageBegin(name, message_type, seqid)
            protocol.writeMessageEnd()
            headers[seqid] = b''.join(sink.written)
            if self.json is not None:  # the struct goes before the end
                headers[seqid] = headers[seqid][:-1] + b','
            sink.written.clear()
        return headers

    def request(self, method: Method, arguments: Any, seqid: int) -> bytes:
        """Return the bytes of a call, without the transport's framing.

        Raises EncodeError for an argument that can't be encoded; nothing was sent then.
        """
        try:
            plan = self.plan(method)
            if plan is not None:
                head, _ = plan.headers[seqid]
                return head + plan.encode(arguments, plan.encode_spec)  # type: ignore[no-any-return]
            buffer = TMemoryBuffer()
            protocol = self.make_protocol(buffer)
            protocol.writeMessageBegin(self.call_name(method), method.message_type, seqid)
            # An argument may have the name of a method.
            write = partial(method.arguments.write, arguments)
            if method.has_specs:
                write(protocol)
            else:
                in_python(write, protocol)
            protocol.writeMessageEnd()
            return bytes(buffer.getvalue())
        except ENCODING as exc:
            if is_foreign(exc):
                raise
            raise encode_error(method, arguments, exc) from exc

    def answer(self, method: Method, seqid: int, protocol: Any) -> Any:
        """Read one whole reply: the result, or `Raised` for an exception about the call.

        Raises Incomplete if the bytes run out, and errors after which the connection can't be
        used: DecodeError, ReplyMismatch, MessageTooLarge, other TApplicationExceptions.
        """
        reader = protocol.trans if type(protocol.trans) is ReplyReader else None
        try:
            return self._answer(method, seqid, protocol, reader)
        except (Incomplete, ThriftClientError, TApplicationException):
            raise
        except DECODING as exc:
            if is_foreign(exc):
                raise
            if reader is not None and reader.refused is not None:
                raise reader.refused from None
            too_large = map_too_large(exc, protocol, binary=self.is_binary)
            raise too_large or decode_error(exc) from exc
        finally:
            if reader is not None:
                reader.refused = None  # its traceback holds the reader: a cycle

    def _answer(
        self, method: Method, seqid: int, protocol: Any, reader: ReplyReader | None
    ) -> Any:
        plan = self.plan(method)
        if plan is not None:
            result: Any = self._read_expected(plan, plan.headers[seqid][1], protocol)
            if result is not None:
                return result
            if self.json is not None:
                return self._read_json(self.json, plan, seqid, protocol)
        begun = None
        if self.is_binary and reader is not None:
            begun = unversioned_header(reader)
        name, message_type, answered = begun or protocol.readMessageBegin()
        _check_header(method, seqid, name, message_type, answered)
        if message_type == TMessageType.EXCEPTION:
            exception = TApplicationException()
            exception.read(protocol)
            result = _raised(exception)
        else:
            result = method.new_result()
            self._read(method, result, protocol)
        protocol.readMessageEnd()
        return result

    def _read(self, method: Method, result: Any, protocol: Any) -> None:
        """Read a result without a plan; the header of its message has been read."""
        if self.arrays is not None and self.json is None and method.has_specs:
            self.arrays(result, protocol, [method.result, method.result.thrift_spec])
            return
        if method.has_specs:
            result.read(protocol)
        else:
            in_python(result.read, protocol)
        if self.arrays is not None:
            self.arrays.convert(result, method.result)

    def _read_expected(self, plan: MethodPlan, head: bytes, protocol: Any) -> Any:
        """Return the result of a message that begins with `head`; None for another beginning."""
        reader = protocol.trans
        if type(reader) is not ReplyReader or (self.json is None and protocol._fast_decode is None):
            return None
        buffer = reader.cstringio_buf
        start = buffer.tell()
        if buffer.read(len(head)) != head:
            buffer.seek(start)
            return None
        result = plan.new_result()
        self.decoder(result, protocol, plan.result_spec)
        return result

    def _read_json(self, json: JsonCoder, plan: MethodPlan, seqid: int, protocol: Any) -> Any:
        """Read a JSON reply that begins in another way, or whose beginning isn't known yet."""
        name, message_type, answered, tree = json.message(protocol)
        _check_header(plan.method, seqid, name, message_type, answered)
        if message_type == TMessageType.EXCEPTION:
            exception = TApplicationException()
            json.fill(exception, tree, _EXCEPTION)
            return _raised(exception)
        result = plan.new_result()
        json.fill(result, tree, plan.result_spec)
        if self.arrays is not None:
            self.arrays.convert(result, plan.method.result)
        return result


def codec_of(service: Service, wire: Wire, service_name: str | None) -> Codec:
    """Return the codec of a service on a wire, made on first use and kept with the wire."""
    key = service, service_name
    codec: Codec | None = wire.codecs.get(key)
    if codec is None:
        codec = wire.codecs.setdefault(key, Codec(service, wire, service_name))
    return codec


def _is_json(protocol: Any) -> bool:
    """Tell whether a protocol is Apache's JSON or ours; importing those takes a while."""
    if type(protocol).__name__ not in {'TJSONProtocol', 'JsonProtocol'}:
        return False
    from thrift.protocol.TJSONProtocol import TJSONProtocol

    from thrift_client.core.json_protocol import JsonProtocol

    return type(protocol) in (TJSONProtocol, JsonProtocol)


#: What TApplicationException reads and writes by hand.
_EXCEPTION = [
    TApplicationException,
    (
        None,
        (1, TType.STRING, 'message', 'UTF8', None),
        (2, TType.I32, 'type', None, None),
    ),
]


def _raised(exception: TApplicationException) -> Raised:
    """Return the result for an exception about the call; any other is raised."""
    if exception.type not in IN_STEP:
        raise exception
    return Raised(exception)


def _has_learnt(json: JsonCoder, method: Method) -> bool:
    """Prepare the fast JSON code for a method; False if one of its types isn't supported."""
    from thrift_client.core.json_coder import Unsupported

    try:
        json.learn([method.arguments, method.arguments.thrift_spec])
        if not method.oneway:
            json.learn([method.result, method.result.thrift_spec])
    except Unsupported:
        return False
    return True


class _Probe:
    """A struct of one integer."""

    x = 0
    spec = (None, (1, TType.I32, 'x', None, None))


def _can_refill(codec: Codec) -> bool:
    """Tell whether the C decoder can ask for more bytes in the middle of a message.

    The decoder of thrift 0.20 to 0.22 fails within compact integers, because it passes a length
    in a way that Python 3.10 removed (PY_SSIZE_T_CLEAN).
    """
    details = [_Probe, _Probe.spec]
    data = codec.encoder(_Probe(), details)
    reader = ReplyReader(len(data), lambda partial, _: BytesIO(partial + data[-2:]))
    reader.load(BytesIO(data[:-2]))
    try:
        codec.decoder(_Probe(), codec.make_protocol(reader), details)
    except SystemError:
        return False
    return True


def _has_depth_limit(make_protocol: Callable[[Any], Any]) -> bool:
    """Tell whether the C decoder of a protocol refuses deeply nested data."""
    from thrift_client.core.nesting import has_limit

    sink = _Sink()
    protocol = make_protocol(sink)
    for _ in range(1000):
        protocol.writeStructBegin('')
        protocol.writeFieldBegin('', TType.STRUCT, 1)
    return has_limit(make_protocol(TMemoryBuffer(b''.join(sink.written))))


def unversioned_header(reader: ReplyReader) -> tuple[str, int, int] | None:
    """Read the header of a binary reply that has no version; None for any other beginning.

    Old servers, and PHP's by default, begin with the length of the method's name.
    """
    (size,) = _INT.unpack(reader.peek(4))
    if not 0 < size <= _LONGEST_NAME:
        return None
    first = reader.peek(5)[4:]
    if not (first.isalpha() or first == b'_'):  # a frame's length, followed by a header
        return None
    header = reader.read(size + 9)
    return header[4:-5].decode(), header[-5], _INT.unpack(header[-4:])[0]


def _check_header(method: Method, seqid: int, name: str, message_type: int, answered: int) -> None:
    hint = 'the connection was discarded; the server may answer late or twice'
    if message_type not in (TMessageType.REPLY, TMessageType.EXCEPTION):
        wrong = f'message type {message_type} instead of a reply'
    elif name != method.wire_name:
        wrong = f'a reply to {quoted(name)}'
        if name.endswith(f':{method.wire_name}'):  # what a server without services echoes
            hint = 'if the server is not multiplexed, leave service_name= out'
    elif answered != seqid:
        wrong = f'sequence id {answered} instead of {seqid}'
    else:
        return
    raise ReplyMismatch(
        f"another call's reply: {wrong}",
        maybe_executed=True,
        hint=hint,
    )


def read_delimited(
    codec: Codec, method: Method, seqid: int, data: BytesIO, reader: ReplyReader, protocol: Any
) -> Any:
    """Read a reply whose bytes are all there, from the position of `data` to its end."""
    reader.load(data)
    if codec.divides:
        reader.divide()
    try:
        if data.getbuffer().nbytes < LARGE:
            result = codec.answer(method, seqid, protocol)
        else:
            result = without_collector(codec.answer, method, seqid, protocol)
    except Incomplete as exc:
        raise DecodeError('the reply is incomplete', maybe_executed=True) from exc
    if not reader.at_end():
        raise trailing_bytes()
    return result
