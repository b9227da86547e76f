"""What a fault server does with a request, as values that can be combined.

`a + b` does a, then b. A behaviour that takes a message changes how that message looks or arrives.
Unless its docstring says otherwise a behaviour reads the whole request first, which is then in the
ledger as executed.
"""

from collections.abc import Callable
from typing import Any

from thrift.Thrift import TApplicationException, TMessageType, TType

from thrift_client.testing.exchange import Exchange, Signal


class Behaviour:
    """Something a server does, once, in one exchange.

    `act`: does it. `reads_request`: whether the whole request is read first.
    """

    def __init__(self, act: Callable[[Exchange], None], *, reads_request: bool = True) -> None:
        self._act = act
        self._reads_request = reads_request

    def act(self, exchange: Exchange) -> None:
        """Do it; returns when it is done, or raises what ends the connection."""
        if self._reads_request:
            exchange.read_request()
        self._act(exchange)

    def __add__(self, after: 'Behaviour') -> 'Behaviour':
        """Return the behaviour that does this and then the other."""

        def both(exchange: Exchange) -> None:
            self.act(exchange)
            if not exchange.closed:
                after.act(exchange)

        return Behaviour(both, reads_request=False)


class Message(Behaviour):
    """Bytes to send; nothing is sent for a oneway request.

    `encode`: makes the bytes, as they go over the wire.
    """

    def __init__(self, encode: Callable[[Exchange], bytes]) -> None:
        super().__init__(self._send)
        self.encode = encode

    def _send(self, exchange: Exchange) -> None:
        if not exchange.request.oneway:
            exchange.send(self.encode(exchange))


class Reply(Message):
    """One message whose frame is not made yet.

    `payload`: makes the message, without a frame.
    """

    def __init__(self, payload: Callable[[Exchange], bytes]) -> None:
        super().__init__(lambda exchange: exchange.wire.frame(payload(exchange)))
        self.payload = payload


class Gate(Behaviour):
    """Hold an exchange until the gate is opened; an open gate stays open."""

    def __init__(self) -> None:
        super().__init__(self._pass)
        self._reached = Signal()
        self._opened = Signal()

    def _pass(self, exchange: Exchange) -> None:
        self._reached.set()
        exchange.wait(self._opened)

    def open(self) -> None:
        """Let waiting and later exchanges through."""
        self._opened.set()

    def wait_reached(self, timeout_ms: float) -> None:
        """Wait until an exchange has reached the gate, with its request read.

        Raises TimeoutError (none had at the end of the time, in milliseconds).
        """
        if not self._reached.wait(timeout_ms / 1000):
            raise TimeoutError(f'no request came to the gate in {timeout_ms} ms')


def hold() -> Gate:
    """Wait until the test opens the gate; a server that closes ends the wait."""
    return Gate()


def delay(ms: float) -> Behaviour:
    """Wait for a number of milliseconds."""
    return Behaviour(lambda exchange: exchange.pause(ms))


def reply(
    value: object = None,
    *,
    seqid_by: int = 0,
    name: str | None = None,
    message_type: int = TMessageType.REPLY,
) -> Reply:
    """Answer with a value; None leaves the result empty, as a `void` method does.

    `value`: what the method returns. `seqid_by`: added to the request's sequence id. `name`:
    instead of the method's; None is the method's. `message_type`: any number that the protocol
    can carry (compact: 0 to 7).
    """
    return answer(lambda _: value, seqid_by=seqid_by, name=name, message_type=message_type)


def answer(
    function: Callable[[Any], object],
    *,
    seqid_by: int = 0,
    name: str | None = None,
    message_type: int = TMessageType.REPLY,
) -> Reply:
    """Answer with what a function returns for the decoded arguments; otherwise as `reply`."""

    def payload(exchange: Exchange) -> bytes:
        request = exchange.request
        result = exchange.wire.result(request.method)
        value = function(request.args)
        if value is not None:
            if not hasattr(result, 'success'):
                raise TypeError(f'method {request.method} returns nothing, not {value!r}')
            result.success = value
        return exchange.wire.message(
            request.method if name is None else name,
            message_type,
            _int32(request.seqid + seqid_by),
            result.write,
        )

    return Reply(payload)


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def raise_declared(error: Exception) -> Reply:
    """Answer with an exception that the IDL declares for the method."""

    def payload(exchange: Exchange) -> bytes:
        request = exchange.request
        result = exchange.wire.result(request.method)
        for field in filter(None, result.thrift_spec):
            if field[0] and field[1] == TType.STRUCT and isinstance(error, field[3][0]):
                setattr(result, field[2], error)
                return exchange.wire.message(
                    request.method, TMessageType.REPLY, request.seqid, result.write
                )
        raise TypeError(f'method {request.method} does not declare {type(error).__name__}')

    return Reply(payload)


def application_exception(type: int, message: str = '') -> Reply:
    """Answer with a `TApplicationException` of any type."""
    error = TApplicationException(type, message)
    return Reply(
        lambda exchange: exchange.wire.message(
            exchange.request.method, TMessageType.EXCEPTION, exchange.request.seqid, error.write
        )
    )


def drip(message: Message, *, size: int = 1, every: float) -> Behaviour:
    """Send a message `size` bytes at a time, with `every` milliseconds between them."""

    def act(exchange: Exchange) -> None:
        data = message.encode(exchange)
        for start in range(0, len(data), size):
            if start:
                exchange.pause(every)
            exchange.send(data[start : start + size])

    return Behaviour(act)


def first_bytes(message: Message, count: int) -> Behaviour:
    """Send the first bytes of a message and no more; `+ silence()`, `close()`, `reset()`."""
    return Behaviour(lambda exchange: exchange.send(message.encode(exchange)[:count]))


def trailing(message: Reply, extra: bytes) -> Reply:
    """Send a reply with more bytes after it, in the same frame."""
    return Reply(lambda exchange: message.payload(exchange) + extra)


def two_frames(message: Reply, at: int) -> Message:
    """Send one reply as two frames, split after its first `at` bytes."""

    def encode(exchange: Exchange) -> bytes:
        payload = message.payload(exchange)
        return exchange.wire.frame(payload[:at]) + exchange.wire.frame(payload[at:])

    return Message(encode)


def one_frame(*messages: Reply) -> Reply:
    """Send several replies in one frame."""
    return Reply(lambda exchange: b''.join(message.payload(exchange) for message in messages))


def raw(data: bytes) -> Behaviour:
    """Send any bytes, without a frame; after a reply and a gate, while the connection is idle."""
    return Behaviour(lambda exchange: exchange.send(data))


def silence() -> Behaviour:
    """Answer nothing: read on until the peer closes."""

    def act(exchange: Exchange) -> None:
        exchange.source.drain()
        exchange.close()

    return Behaviour(act)


def close() -> Behaviour:
    """Close with a FIN; after a reply, that closes an idle connection."""
    return Behaviour(lambda exchange: exchange.close())


def reset() -> Behaviour:
    """Close with a RST."""
    return Behaviour(lambda exchange: exchange.reset())


def reset_after_reading(count: int) -> Behaviour:
    """Read the first bytes of the request, at least one, and close with a RST: never executed."""

    def act(exchange: Exchange) -> None:
        exchange.source.readAll(count)
        exchange.reset()

    return Behaviour(act, reads_request=False)


def never_read() -> Behaviour:
    """Read nothing more than the byte by which the request was noticed, and keep the connection."""
    return Behaviour(lambda exchange: exchange.park(), reads_request=False)
