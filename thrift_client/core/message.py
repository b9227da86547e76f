"""A call to request bytes, and reply bytes to a value: Apache's protocols over memory.

Nothing of Thrift's encoding is written here. What a message header looks like is learned
from the protocol itself, once per method: written with a few sequence ids, it differs
only where the id stands. With the C extension a request is then three pieces put
together, and a reply to it is recognized by comparing its first bytes with the header
that it must have: the same method, the same sequence id, a reply.
"""

from __future__ import annotations

from io import BytesIO
from itertools import count

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

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

#: Sequence ids go round among these, all of one encoded length in every protocol. Few
#: enough that each one's bytes are learned once, more than a connection can mix up: it
#: carries one call at a time and is gone after any doubt.
FIRST_ID, IDS = 1 << 21, 1 << 10
_calls = count()

#: A TApplicationException about this call, after which the server is still in step.
IN_STEP = frozenset(
    (
        TApplicationException.UNKNOWN,
        TApplicationException.UNKNOWN_METHOD,
        TApplicationException.MISSING_RESULT,
        TApplicationException.INTERNAL_ERROR,
    )
)


def next_id() -> int:
    """The sequence id of a new call; safe from any thread."""
    return FIRST_ID + next(_calls) % IDS


class Plan:
    """One method on one protocol: everything about it that no call changes."""

    __slots__ = (
        'call_head',
        'call_tail',
        'encode',
        'encode_spec',
        'method',
        'reply_head',
        'reply_tail',
        'result',
        'result_spec',
        'returns',
    )

    def __init__(self, method: Method, codec: Codec) -> None:
        self.method = method
        self.returns = method.returns
        self.result = method.result
        header, start, stop = codec.probe(method.wire_name, method.message_type)
        self.call_head, self.call_tail = header[:start], header[stop:]
        header, start, stop = codec.probe(method.wire_name, TMessageType.REPLY)
        self.reply_head, self.reply_tail = header[:start], header[stop:]
        self.encode: Any = codec.encoder
        self.encode_spec = [method.arguments, method.arguments.thrift_spec]
        self.result_spec = None if method.oneway else [self.result, self.result.thrift_spec]


class Ids(dict[int, bytes]):
    """The encoded bytes of each sequence id, learned when first asked for."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        _, self._start, self._stop = codec.probe('', TMessageType.CALL)

    def __missing__(self, seqid: int) -> bytes:
        header = self._codec.header('', TMessageType.CALL, seqid)
        value = self[seqid] = header[self._start : self._stop]
        return value


class Codec:
    """A service's messages on one protocol, shared by all connections that speak it.

    `make_protocol(transport)` is what an Apache protocol factory's `getProtocol` is.
    """

    def __init__(self, service: Service, make_protocol: Callable[[Any], Any]) -> None:
        self.service = service
        self.make_protocol = make_protocol
        protocol = make_protocol(TMemoryBuffer())
        self.encoder = getattr(protocol, '_fast_encode', None) if service.accelerated else None
        self.decoder = getattr(protocol, '_fast_decode', None) if service.accelerated else None
        self._ids: Ids | None = None
        self.plans: dict[Method, Plan] = {}

    @property
    def ids(self) -> Ids:
        """The bytes of sequence ids on this protocol."""
        if self._ids is None:
            self._ids = Ids(self)
        return self._ids

    def plan(self, method: Method) -> Plan | None:
        """How `method` goes over this protocol fast; None without the C extension."""
        plan = self.plans.get(method)
        if plan is None and self.encoder is not None and method.has_specs:
            plan = self.plans.setdefault(method, Plan(method, self))
        return plan

    def header(self, name: str, message_type: int, seqid: int) -> bytes:
        """A message header as the protocol writes it."""
        buffer = TMemoryBuffer()
        self.make_protocol(buffer).writeMessageBegin(name, message_type, seqid)
        return bytes(buffer.getvalue())

    def probe(self, name: str, message_type: int) -> tuple[bytes, int, int]:
        """A message header, and from where to where it differs with the sequence id."""
        ids = (FIRST_ID + step for step in (0, 1, IDS // 2, IDS - 1))
        headers = [self.header(name, message_type, seqid) for seqid in ids]
        varying = [i for i, column in enumerate(zip(*headers, strict=True)) if len(set(column)) > 1]
        return headers[0], varying[0], varying[-1] + 1

    def request(self, method: Method, arguments: Any, seqid: int) -> bytes:
        """The bytes of a call, without what the transport puts around them.

        Raises EncodeError for an argument that can't be encoded; nothing has happened then.
        """
        try:
            plan = self.plan(method)
            if plan is not None:
                head = plan.call_head + self.ids[seqid] + plan.call_tail
                return head + plan.encode(arguments, plan.encode_spec)  # type: ignore[no-any-return]
            buffer = TMemoryBuffer()
            protocol = self.make_protocol(buffer)
            protocol.writeMessageBegin(method.wire_name, method.message_type, seqid)
            arguments.write(protocol)
            protocol.writeMessageEnd()
            return bytes(buffer.getvalue())
        except Exception as exc:
            raise encode_error(method, exc) from exc

    def answer(self, method: Method, seqid: int, protocol: Any) -> Any:
        """Read one whole reply: the result, or `Raised` for an exception about the call.

        Raises Incomplete where the bytes run out, and what makes the connection unfit:
        DecodeError, ReplyMismatch, MessageTooLarge, other TApplicationExceptions.
        """
        try:
            name, message_type, answered = protocol.readMessageBegin()
            _check_header(method, seqid, name, message_type, answered)
            if message_type == TMessageType.EXCEPTION:
                exception = TApplicationException()
                exception.read(protocol)
                protocol.readMessageEnd()
                if exception.type not in IN_STEP:
                    raise exception
                result: Any = Raised(exception)
            else:
                result = method.result()
                result.read(protocol)
                protocol.readMessageEnd()
        except (Incomplete, ThriftClientError, TApplicationException):
            raise
        except Exception as exc:
            raise decode_error(exc) from exc
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
    """What a failed encoding is called."""
    error = EncodeError(f'an argument of {method!r} cannot be encoded: {exc or type(exc).__name__}')
    error.method = method.name
    return error


def decode_error(exc: Exception) -> DecodeError | MessageTooLarge:
    """What a failed decoding is called: the C extension knows OverflowError for two things."""
    limit = isinstance(exc, OverflowError) and 'exceeded' in str(exc)
    if isinstance(exc, TProtocolException):
        limit = exc.type == TProtocolException.SIZE_LIMIT
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
