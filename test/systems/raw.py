"""A server that answers each request with the bytes that a test chooses."""

from __future__ import annotations

import contextlib
import socket
import threading


class RawServer:
    """Gives each thing that a connection sends to `answer(data)`; None closes the connection.

    `connections` counts those that were accepted.
    """

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self._listener.getsockname()[1]}'
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._peers = []

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(peer)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,), daemon=True))
            self._threads[-1].start()

    def _serve(self, peer):
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(65536):
                reply = self._answer(data)
                if reply is None:
                    return
                peer.sendall(reply)

    def send(self, data):
        """Send something unasked on the latest connection."""
        self._peers[-1].sendall(data)

    def hang_up(self):
        """Close all connections."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
