"""A server that does with each connection what a test says."""

import socket
import threading


class Listening:
    """Gives one connection after another to `serve`, in a thread, until its block ends."""

    def __init__(self):
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self._listener.getsockname()[1]}'
        self.accepted = 0
        self._thread = threading.Thread(target=self._accept)

    def serve(self, peer):
        """Serve one connection, which is closed afterwards."""
        raise NotImplementedError

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with peer:
                self.serve(peer)
