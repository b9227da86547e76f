"""SASL and HTTP in front of a server that speaks plain Thrift: what it does, the front does.

A reply that the server delays or never sends is so here, too; a connection that it closes or
resets is closed or reset.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

#: Of Thrift's SASL negotiation.
START, OK, COMPLETE = 1, 2, 5
#: SO_LINGER: a close is a reset.
AT_ONCE = struct.pack('ii', 1, 0)
LOGIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}


class Front:
    """Listens on `port` (0: any free one) and relays each connection to `address`."""

    def __init__(self, address, port=0):
        host, _, number = address.rpartition(':')
        self._server = host, int(number)
        self._listener = socket.create_server(('127.0.0.1', port))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open = set()
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self):
        """Where clients connect to."""
        return f'127.0.0.1:{self.port}'

    def close(self):
        """Refuse connections, and end those that are open."""
        with self._lock:
            self._closed = True
            for end in self._open:
                _shut(end)
        _shut(self._listener)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, client):
        with client, contextlib.ExitStack() as ends:
            try:
                server = ends.enter_context(socket.create_connection(self._server))
            except OSError:
                return
            with self._lock:
                if self._closed:
                    return
                self._open |= {client, server}
            try:
                self._talk(client, server)
            except ConnectionResetError:
                with contextlib.suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            except (OSError, EOFError):
                pass
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _talk(self, client, server):
        from_client, from_server = b'', b''
        self.begin(client)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is client:
                        try:
                            data = client.recv(1 << 16)
                        except ConnectionResetError:
                            return
                        if not data:
                            return
                        from_client, sent = self.to_server(from_client + data)
                        server.sendall(sent)
                    else:
                        data = server.recv(1 << 16)
                        if not data:
                            return
                        from_server, sent = self.to_client(from_server + data)
                        client.sendall(sent)

    def begin(self, client):
        """Do what comes before the first request."""

    def to_server(self, data):
        """Return what is left of bytes of a client, and what the server gets."""
        raise NotImplementedError

    def to_client(self, data):
        """Return what is left of bytes of the server, and what the client gets."""
        raise NotImplementedError


class SaslFront(Front):
    """Takes any login by PLAIN; the server is one for buffered messages."""

    def begin(self, client):
        """Log in."""
        for expected in (START, OK):
            status, size = struct.unpack('!BI', _exactly(client, 5))
            assert status == expected
            _exactly(client, size)
        client.sendall(struct.pack('!BI', COMPLETE, 0))

    def to_server(self, data):
        """Take frames apart."""
        sent = b''
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4])):
            sent, data = sent + data[4 : 4 + size], data[4 + size :]
        return data, sent

    def to_client(self, data):
        """Put what came into a frame."""
        return b'', len(data).to_bytes(4) + data


class HttpFront(Front):
    """Takes any path; the server is one for framed messages."""

    def to_server(self, data):
        """Take requests apart."""
        sent = b''
        while b'\r\n\r\n' in data:
            head, _, rest = data.partition(b'\r\n\r\n')
            lines = (line.partition(b':') for line in head.lower().split(b'\r\n'))
            (size,) = (int(value) for name, _, value in lines if name == b'content-length')
            if len(rest) < size:
                break
            sent, data = sent + size.to_bytes(4) + rest[:size], rest[size:]
        return data, sent

    def to_client(self, data):
        """Put replies into responses."""
        sent = b''
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4])):
            head = b'HTTP/1.1 200 OK\r\nContent-Type: application/x-thrift\r\n'
            sent += head + b'Content-Length: %d\r\n\r\n' % size + data[4 : 4 + size]
            data = data[4 + size :]
        return data, sent


def _exactly(sock, size):
    data = b''
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _shut(sock):
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
