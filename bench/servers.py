"""Many cheap servers in one process: prepared replies, with the request's sequence id.

Around the replies goes what the transport and TLS need (`bench.speakers`).

The process (`python -m bench.servers`) prints its ports as one line of JSON and ends when its
standard input is closed. For each line of input it prints the longest time that a server with a
delay took for a reply since the line before, in seconds.

A benchmark measures the client, so a server does as little as possible: one recv is one request,
which is true for every client that sends a small request with one system call, and only the part
of a request that selects the reply is decoded.
"""

import argparse
import heapq
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable

from bench_if import bench_service
from bench_if.ttypes import Item, Record
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolAcceleratedFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.transport.TTransport import TMemoryBuffer

from bench.speakers import SPEAKERS, Speaker

RECEIVE = 65536
SMALL = 4096  # a reply that is sent at once, with its header
VALUE = 'value'
KEYS = ['one', 'two', 'three', 'four']

FACTORIES = {
    'binary': TBinaryProtocolAcceleratedFactory,
    'compact': TCompactProtocolAcceleratedFactory,
    'json': TJSONProtocolFactory,
}
#: Methods whose reply depends on their argument.
SIZED = {'blob', 'items', 'numbers', 'records'}

# The reply up to its sequence id, the part between that and the body, the body.
Canned = tuple[bytes, bytes, bytes]


def encoded(protocol: str, struct_: object) -> bytes:
    """Return what `protocol` makes of a generated struct."""
    buffer = TMemoryBuffer()
    struct_.write(FACTORIES[protocol]().getProtocol(buffer))
    return buffer.getvalue()


def record(number: int) -> Record:
    """Return a struct of five fields."""
    return Record(number, f'name{number}', number / 7, number % 2 == 0, number % 100)


def result_of(method: str, size: int) -> object:
    """Return the generated result struct of `method`; `size` is its argument, where it has one."""
    match method:
        case 'getk':
            return bench_service.getk_result(success=VALUE)
        case 'keys':
            return bench_service.keys_result(success=KEYS)
        case 'blob':
            return bench_service.blob_result(success=b'b' * size)
        case 'items':
            items = [Item(id=number, name=f'name{number}') for number in range(size)]
            return bench_service.items_result(success=items)
        case 'records':
            return bench_service.records_result(success=[record(i) for i in range(size)])
        case 'numbers':
            return bench_service.numbers_result(success=list(range(size)))
    raise ValueError(f'no reply is prepared for {method!r}')


def argument_of(protocol: str, method: str, request: bytes, start: int) -> int:
    """Return the size that a request asks for; its arguments begin at `start`."""
    if method not in SIZED:
        return 0
    arguments = getattr(bench_service, method + '_args')()
    arguments.read(FACTORIES[protocol]().getProtocol(TMemoryBuffer(request[start:])))
    return arguments.size if method == 'blob' else arguments.count


class Replies:
    """The replies of one protocol and framing, each encoded when it is first needed."""

    def __init__(self, protocol: str, framed: bool):
        self.protocol = protocol
        self.framed = framed
        self._canned: dict[bytes, Canned] = {}
        self.answer: Callable[[bytes], tuple[bytes, bytes]] = {
            'binary': self._binary,
            'compact': self._compact,
            'json': self._json,
        }[protocol]

    def _made(self, name: bytes, request: bytes, start: int) -> Canned:
        """Return the reply to `name`, cached by its arguments, too, if it depends on them."""
        method = name.decode()
        key = name + request[start:] if method in SIZED else name
        if key not in self._canned:
            size = argument_of(self.protocol, method, request, start)
            body = encoded(self.protocol, result_of(method, size))
            if self.protocol == 'binary':
                head = b'\x80\x01\x00\x02' + struct.pack('!i', len(name)) + name
                if self.framed:
                    head = struct.pack('!i', len(head) + 4 + len(body)) + head
                self._canned[key] = head, b'', body
            else:
                self._canned[key] = b'\x82\x41', bytes([len(name)]) + name, body
        return self._canned[key]

    def _binary(self, request: bytes) -> tuple[bytes, bytes]:
        at = 8 if self.framed else 4
        end = at + 4 + request[at + 3]
        name = request[at + 4 : end]
        # getk and keys are found by name; the others depend on their arguments.
        head, _, body = self._canned.get(name) or self._made(name, request, end + 4)
        return head + request[end : end + 4], body

    def _json(self, request: bytes) -> tuple[bytes, bytes]:
        """Answer a small call; the message is an array of version, name, type, id and struct."""
        _, name, _, seqid, _ = request.split(b',', 4)
        if name not in self._canned:
            body = encoded('json', result_of(json.loads(name), 0))
            self._canned[name] = b'[1,%b,2,' % name, b',', body + b']'
        head, middle, body = self._canned[name]
        return head + seqid + middle, body

    def _compact(self, request: bytes) -> tuple[bytes, bytes]:
        at = end = 6 if self.framed else 2
        while request[end] & 0x80:
            end += 1
        end += 1
        start = end + 1 + request[end]
        name = request[end + 1 : start]
        head, middle, body = self._canned.get(name) or self._made(name, request, start)
        reply = head + request[at:end] + middle
        if self.framed:
            reply = struct.pack('!i', len(reply) + len(body)) + reply
        return reply, body


class Servers:
    """Listening sockets and their connections, served by one thread.

    Sending blocks, so that one client at a time gets a large reply.
    """

    def __init__(
        self, count: int, replies: Replies, delay: float, piece: int, speaker: type[Speaker]
    ):
        self._replies = replies
        self._speaker = None if speaker is Speaker else speaker
        self._speakers: dict[int, Speaker] = {}
        self._piece = piece
        self._delay = delay / 1000
        self._poll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, socket.socket] = {}
        self._due: list[tuple[float, int, socket.socket, tuple[bytes, bytes]]] = []
        self._order = 0
        self._longest = 0.0
        for _ in range(count):
            listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
            self._listeners[listener.fileno()] = listener
            self._poll.register(listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)

    @property
    def ports(self) -> list[int]:
        """The ports, in the order in which they were opened."""
        return [listener.getsockname()[1] for listener in self._listeners.values()]

    def run(self) -> None:
        """Serve until standard input is closed."""
        stdin = sys.stdin.fileno()
        while True:
            for fd, _ in self._events():
                if speaker := self._speakers.get(fd):
                    if not speaker.serve():
                        del self._speakers[fd]
                elif connection := self._connections.get(fd):
                    self._serve(connection)
                elif listener := self._listeners.get(fd):
                    self._accept(listener)
                elif fd == stdin:
                    if not os.read(stdin, RECEIVE):
                        return
                    print(self._longest, flush=True)
                    self._longest = 0.0

    def _events(self) -> Iterable[tuple[int, int]]:
        """Send the replies that are due, and return what is readable."""
        if not self._delay:
            return self._poll.poll()
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, _, connection, reply = heapq.heappop(self._due)
            self._send(connection, reply)
            now = time.monotonic()
            self._longest = max(self._longest, now - due + self._delay)
        wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        # epoll's timeout counts whole milliseconds, too coarse for a delay of 5 ms.
        select.select([self._poll], [], [], wait)
        return self._poll.poll(0)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._speaker is not None:
            speaker = self._speaker(connection, self._replies.answer)
            self._speakers[speaker.connection.fileno()] = speaker
            self._poll.register(speaker.connection, select.EPOLLIN)
            return
        self._connections[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)

    def _serve(self, connection: socket.socket) -> None:
        try:
            request = connection.recv(RECEIVE)
        except ConnectionError:
            request = b''
        if not request:
            del self._connections[connection.fileno()]
            connection.close()
            return
        reply = self._replies.answer(request)
        if self._delay:
            self._order += 1
            due = time.monotonic() + self._delay
            heapq.heappush(self._due, (due, self._order, connection, reply))
        else:
            self._send(connection, reply)

    def _send(self, connection: socket.socket, reply: tuple[bytes, bytes]) -> None:
        head, body = reply
        try:
            if len(body) <= SMALL:
                connection.send(head + body)
                return
            connection.sendall(head)
            rest = memoryview(body)
            piece = self._piece or len(rest)
            for start in range(0, len(rest), piece):
                connection.sendall(rest[start : start + piece])
        except OSError:
            return  # the client has closed, which the next recv notices


def raise_descriptor_limit() -> None:
    """Allow as many open sockets as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Print the ports and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=1)
    parser.add_argument('--protocol', choices=FACTORIES, default='binary')
    parser.add_argument('--framed', action='store_true')
    parser.add_argument('--around', choices=SPEAKERS, default='nothing', help='the transport')
    parser.add_argument('--delay', type=float, default=0, help='ms before each reply')
    parser.add_argument('--piece', type=int, default=0, help='bytes sent at once; 0: all')
    options = parser.parse_args()
    raise_descriptor_limit()
    replies = Replies(options.protocol, options.framed)
    speaker = SPEAKERS[options.around]
    servers = Servers(options.count, replies, options.delay, options.piece, speaker)
    print(json.dumps(servers.ports), flush=True)
    servers.run()


if __name__ == '__main__':
    main()
