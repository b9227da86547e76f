"""A server that keeps each request's bytes and answers with bytes that a test chooses."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading


class Peer:
    """Speaks frames on one connection after another; `answer(request)` makes each reply.

    An answer of None sends nothing, as for oneway.
    """

    def __init__(self):
        self.requests = queue.SimpleQueue()
        self.answer = lambda request: None
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self._connection = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with self._connection, contextlib.suppress(OSError):
                self._serve(self._connection.makefile('rb'))

    def _serve(self, incoming):
        with incoming:
            while head := incoming.read(4):
                request = incoming.read(*struct.unpack('!i', head))
                self.requests.put(request)
                reply = self.answer(request)
                if reply is not None:
                    self._connection.sendall(struct.pack('!i', len(reply)) + reply)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        assert not self._thread.is_alive()
