"""A small server that negotiates SASL as Thrift's Java servers do, then serves test_service."""

from __future__ import annotations

import socket
import struct
import threading

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.transport.TTransport import TMemoryBuffer

from handlers import KeyValue
from test_if import test_service

START, OK, BAD, ERROR, COMPLETE = range(1, 6)


class SaslServer:
    """Takes PLAIN with one user and password; `pieces` cuts its replies into such pieces.

    `mechanism` is another mechanism, whose first message is `login`.

    `protocol` is the factory of the protocol, `alter` a function of each reply's bytes,
    `port` 0 any free one.
    """

    def __init__(
        self, user='me', password='secret', *, pieces=1 << 20, protocol=None, alter=bytes, port=0,
        mechanism=b'PLAIN', login=None,
    ):  # fmt: skip
        self._mechanism = mechanism
        self._login = f'\0{user}\0{password}'.encode() if login is None else login
        self._pieces = pieces
        self._protocol = protocol or TBinaryProtocolFactory()
        self._alter = alter
        self.handler = KeyValue()
        self._processor = test_service.Processor(self.handler)
        self._listener = socket.create_server(('127.0.0.1', port))
        self.port = self._listener.getsockname()[1]
        self._peers = []
        self._threads = [threading.Thread(target=self._accept)]
        self.logins = 0

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads[1:]:
            thread.join()

    def hang_up(self):
        """Close the connections."""
        for peer in self._peers:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its client was quicker

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            self._threads.append(threading.Thread(target=self._talk, args=(peer,)))
            self._threads[-1].start()

    def _talk(self, peer):
        with peer, peer.makefile('rb') as source:
            try:
                if self._log_in(peer, source):
                    while self._serve(peer, source):
                        pass
            except (OSError, struct.error):
                pass  # the client has gone

    def _log_in(self, peer, source):
        status, mechanism = self._read(source)
        if status != START or mechanism != self._mechanism:
            self._send(peer, struct.pack('!BI', BAD, 11) + b'no ' + mechanism[:8].ljust(8))
            return False
        status, response = self._read(source)
        if response != self._login:
            text = self._refusal(response)
            self._send(peer, struct.pack('!BI', ERROR, len(text)) + text)
            return False
        self.logins += 1
        self._send(peer, struct.pack('!BI', COMPLETE, 0))
        return True

    def _refusal(self, response):
        return b'wrong: ' + response.replace(b'\0', b' ')

    def _read(self, source):
        status, size = struct.unpack('!BI', source.read(5))
        return status, source.read(size)

    def _serve(self, peer, source):
        (size,) = struct.unpack('!i', source.read(4))
        factory = self._protocol
        given, made = TMemoryBuffer(source.read(size)), TMemoryBuffer()
        self._processor.process(factory.getProtocol(given), factory.getProtocol(made))
        reply = self._alter(made.getvalue())
        for start in range(0, len(reply), self._pieces):
            piece = reply[start : start + self._pieces]
            self._send(peer, struct.pack('!i', len(piece)) + piece)
        return True

    def _send(self, peer, data):
        peer.sendall(data)
