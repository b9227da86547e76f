"""The log of requests: what `log_filename=` writes and `thrift-client replay` sends again.

One line of JSON for each request, in the order in which they were made:

    {"time": 1767225600000.0, "server": "localhost:9901", "service": "test_if.test_service",
     "method": "getk", "arguments": "CwABAAAAAWsA"}

`time` is in ms since 1970, `service` the gen-py module, `arguments` the arguments' struct in
Thrift's binary protocol, in base64: whatever protocol the client speaks, and whatever bytes
an argument has, it is read back unchanged.

Logs are shared without a lock: storing into a dict is atomic under the GIL, and two logs of one
file append to it like two processes. Without the GIL, sharing would need a lock, because
`WeakValueDictionary` is written in Python.
"""

from __future__ import annotations

import os
from base64 import b64encode
from json import dumps
from time import time
from weakref import WeakValueDictionary

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from thrift_client.core.failures import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

_logs: WeakValueDictionary[str, RequestLog] = WeakValueDictionary()


def request_log(path: str) -> RequestLog:
    """Return the log of a file, one for all clients that log to it. Raises OSError."""
    path = os.path.abspath(path)  # noqa: PTH100 - pathlib costs an import
    found = _logs.get(path)
    return found if found is not None else _logs.setdefault(path, RequestLog(path))


class RequestLog:
    """Appends requests to a file; if it is created here, only its owner may read it.

    Any number of threads and processes may write to one file: a request is one append.
    Raises OSError if the file can't be opened.
    """

    __slots__ = ('__weakref__', '_file', '_torn', '_warned', 'path')

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: int | None = None
        self._warned: set[str] = set()
        self._torn = False  # whether the last line is incomplete, because of a full disk
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def record(self, server: str, service: str, method: str, arguments: Any) -> None:
        """Append one request, before it is sent.

        `server` is the name of the server, `service` that of the gen-py module, `arguments` the
        instance of the generated class. A failure never fails a call: the first one to write the
        file, and the first one to encode arguments, are logged as a warning.
        """
        if self._file is None:
            return
        what = f'a request is missing from {self.path}, as its arguments are invalid'
        try:
            buffer = TMemoryBuffer()
            arguments.write(TBinaryProtocol(buffer))
            what = f'requests are missing from {self.path}'
            line = {
                'time': round(time() * 1000, 3),
                'server': server,
                'service': service,
                'method': method,
                'arguments': b64encode(buffer.getvalue()).decode('ascii'),
            }
            written = (b'\n' if self._torn else b'') + dumps(line).encode() + b'\n'
            count = os.write(self._file, written)
            self._torn = count < len(written)
        except Exception as exc:
            if is_foreign(exc):
                raise
            self._warn(what, exc)  # a full disk must not fail a call

    def close(self) -> None:
        """Close the file; what is recorded afterwards is dropped. May be repeated."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _warn(self, what: str, exc: Exception) -> None:
        if what not in self._warned:
            from logging import getLogger

            self._warned.add(what)
            getLogger('thrift_client.request_log').warning('%s: %s', what, exc)

    def __del__(self) -> None:
        self.close()
