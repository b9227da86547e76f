"""A call to request bytes, and reply bytes to a value: Apache's protocols over memory.

Nothing of Thrift's encoding is written here. What a message header looks like is learned
from the protocol itself, once per method, with each of the few sequence ids that go round.
With the C extension a request is then two pieces put together, and a reply to it is
recognized by comparing its first bytes with the header that it must have: the same
method, the same sequence id, a reply.
"""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import cycle

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TException, TMessageType, TType
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase, TTransportException

from thrift_client.core.foreign import is_foreign
from thrift_client.core.framing import trailing_bytes
from thrift_client.core.reader import Incomplete, Reader
from thrift_client.core.service import Method, Raised, Service
from thrift_client.errors import (
    DecodeError,
    EncodeError,
    MessageTooLarge,
    ReplyMismatch,
    ThriftClientError,
)

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.wire import Wire

#: What encoding an argument raises, and what decoding a reply does; see the table of phases in
#: the documentation of errors. A MemoryError of decoding is a limit.
ENCODE_ERRORS = (
    TypeError, ValueError, AttributeError, LookupError, ArithmeticError, struct.error,
    RecursionError, MemoryError, AssertionError, TException,
)  # fmt: skip
DECODE_ERRORS = (*ENCODE_ERRORS, EOFError, SystemError)

#: Sequence ids go round among these, all of one encoded length in every protocol. Few
#: enough that each one's headers are kept for a method, more than a connection can mix up:
#: it carries one call at a time and is gone after any doubt.
FIRST_ID, IDS = 1 << 21, 1 << 5

#: A TApplicationException about this call, after which the server is still in step.
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


class Plan:
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
        #: By sequence id the message header of a call, and that which its reply must have.
        self.headers = {i: (calls[i], replies[i]) for i in calls}
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

    `wire` says how its server is spoken to. `service_name` is what a multiplexed service is
    called at its server. `accelerated` says that the C extension can encode all of it.
    """

    def __init__(self, service: Service, wire: Wire, service_name: str | None = None) -> None:
        self.service = service
        self.wire = wire
        self.service_name = service_name
        self.accelerated = service.accelerated
        self.make_protocol = wire.make_protocol if service.accelerated else wire.make_pure
        protocol = self.make_protocol(_Sink())
        self.encoder = getattr(protocol, '_fast_encode', None) if service.accelerated else None
        self.decoder = getattr(protocol, '_fast_decode', None) if service.accelerated else None
        self._refills: bool | None = None
        self.plans: dict[Method, Plan] = {}

    @property
    def refills(self) -> bool:
        """Whether a reply may go on behind the end of the reader's buffer."""
        if self._refills is None:
            self._refills = self.decoder is None or _can_refill(self)
        return self._refills

    def make_streaming(self, reader: Reader) -> Any:
        """A protocol for a reply that may go on behind the end of the reader's buffer."""
        protocol = self.make_protocol(reader)
        if not self.refills:
            protocol._fast_decode = None  # which makes it read in pure Python
        return protocol

    def call_name(self, method: Method) -> str:
        """What a call names; the reply has the method's bare name, multiplexed or not."""
        if self.service_name is None:
            return method.wire_name
        return f'{self.service_name}:{method.wire_name}'

    def plan(self, method: Method) -> Plan | None:
        """How `method` goes over this protocol fast; None without the C extension."""
        plan = self.plans.get(method)
        if plan is None and self.encoder is not None and method.has_specs:
            plan = self.plans.setdefault(method, Plan(method, self))
        return plan

    def numbered(self, name: str, message_type: int) -> dict[int, bytes]:
        """By sequence id a message header as the protocol writes it."""
        sink = _Sink()
        protocol = self.make_protocol(sink)
        headers = {}
        for seqid in range(FIRST_ID, FIRST_ID + IDS):
            protocol.writeMessageBegin(name, message_type, seqid)
            protocol.writeMessageEnd()
            headers[seqid] = b''.join(sink.written)
            sink.written.clear()
        return headers

    def request(self, method: Method, arguments: Any, seqid: int) -> bytes:
        """The bytes of a call, without what the transport puts around them.

        Raises EncodeError for an argument that can't be encoded; nothing has happened then.
        """
        try:
            plan = self.plan(method)
            if plan is not None:
                head, _ = plan.headers[seqid]
                return head + plan.encode(arguments, plan.encode_spec)  # type: ignore[no-any-return]
            buffer = TMemoryBuffer()
            protocol = self.make_protocol(buffer)
            protocol.writeMessageBegin(self.call_name(method), method.message_type, seqid)
            arguments.write(protocol)
            protocol.writeMessageEnd()
            return bytes(buffer.getvalue())
        except ENCODE_ERRORS as exc:
            raise encode_error(method, exc) from exc

    def answer(self, method: Method, seqid: int, protocol: Any) -> Any:
        """Read one whole reply: the result, or `Raised` for an exception about the call.

        Raises Incomplete where the bytes run out, and what makes the connection unfit:
        DecodeError, ReplyMismatch, MessageTooLarge, other TApplicationExceptions.
        """
        try:
            plan = self.plans.get(method)
            if plan is not None and protocol._fast_decode is not None:
                result: Any = _read_expected(plan, plan.headers[seqid][1], protocol)
                if result is not None:
                    return result
            name, message_type, answered = protocol.readMessageBegin()
            _check_header(method, seqid, name, message_type, answered)
            if message_type == TMessageType.EXCEPTION:
                exception = TApplicationException()
                exception.read(protocol)
                protocol.readMessageEnd()
                if exception.type not in IN_STEP:
                    raise exception
                result = Raised(exception)
            else:
                result = method.new_result()
                result.read(protocol)
                protocol.readMessageEnd()
        except (Incomplete, ThriftClientError, TApplicationException):
            raise
        except DECODE_ERRORS as exc:
            raise decode_error(exc) from exc
        return result


class _Probe:
    """A struct of one integer."""

    x = 0
    spec = (None, (1, TType.I32, 'x', None, None))


def _can_refill(codec: Codec) -> bool:
    """Whether the C decoder can ask for more bytes in the middle of a message.

    That of thrift 0.20 to 0.22 fails to in compact integers, since it passes a length in a
    way that Python 3.10 gave up (PY_SSIZE_T_CLEAN).
    """
    details = [_Probe, _Probe.spec]
    data = codec.encoder(_Probe(), details)  # type: ignore[misc]
    reader = Reader(len(data), lambda partial, _: BytesIO(partial + data[-2:]))
    reader.load(BytesIO(data[:-2]))
    try:
        codec.decoder(_Probe(), codec.make_protocol(reader), details)  # type: ignore[misc]
    except SystemError:
        return False
    return True


def _read_expected(plan: Plan, head: bytes, protocol: Any) -> Any:
    """The result in a message that begins with the header `head`; None for another beginning."""
    reader = protocol.trans
    if type(reader) is not Reader:
        return None
    buffer = reader.cstringio_buf
    start = buffer.tell()
    if buffer.read(len(head)) != head:
        buffer.seek(start)
        return None
    result = plan.new_result()
    protocol._fast_decode(result, protocol, plan.result_spec)
    return result


def _check_header(method: Method, seqid: int, name: str, message_type: int, answered: int) -> None:
    if message_type not in (TMessageType.REPLY, TMessageType.EXCEPTION):
        wrong = f'message type {message_type} instead of a reply'
    elif name != method.wire_name:
        wrong = f'a reply to {name!r}'
    elif answered != seqid:
        wrong = f'sequence id {answered} instead of {seqid}'
    else:
        return
    raise ReplyMismatch(
        f"another call's reply: {wrong}",
        maybe_executed=True,
        hint='the connection was discarded; the server may answer late or twice',
    )


def encode_error(method: Method, exc: Exception) -> EncodeError:
    """What a failed encoding is called. Raises what a signal handler raised in its middle."""
    if is_foreign(exc):
        raise exc
    error = EncodeError(f'an argument of {method!r} cannot be encoded: {exc or type(exc).__name__}')
    error.method = method.name
    return error


def decode_error(exc: Exception) -> DecodeError | MessageTooLarge:
    """What a failed decoding is called: the C extension knows OverflowError for two things.

    Raises what a signal handler raised in its middle.
    """
    if is_foreign(exc):
        raise exc
    if isinstance(exc, MemoryError):
        return MessageTooLarge('the reply needs more memory than there is')
    limit = isinstance(exc, OverflowError) and 'exceeded' in str(exc)
    if isinstance(exc, (TProtocolException, TTransportException)):  # pure Python uses both
        limit = exc.type == exc.SIZE_LIMIT
    if limit:
        return MessageTooLarge(
            f'a string or container in the reply is over its limit: {exc}',
            maybe_executed=True,
            hint='raise max_message_size or max_container_length if the server is to be trusted',
        )
    return DecodeError(
        f'the reply is no Thrift message: {type(exc).__name__}: {exc}', maybe_executed=True
    )


def read_delimited(
    codec: Codec, method: Method, seqid: int, data: BytesIO, reader: Reader, protocol: Any
) -> Any:
    """Read a reply whose bytes are all there, from the position of `data` to its end."""
    reader.load(data)
    try:
        result = codec.answer(method, seqid, protocol)
    except Incomplete as exc:
        raise DecodeError('the reply ends in its middle', maybe_executed=True) from exc
    if not reader.at_end():
        raise trailing_bytes()
    return result
