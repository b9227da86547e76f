"""Reads the log that `log_filename=` writes, even if lines of it are damaged.

A full disk leaves half a line, to which the next request is appended; a log may also be
untrusted. Invalid parts are skipped and reported, and the requests around them are read.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

#: How each request begins, also after an incomplete line.
_BEGIN = '{"time":'

_KEYS: dict[str, Any] = {
    'time': (int, float),
    'server': str,
    'service': str,
    'method': str,
    'arguments': str,
}
#: In ms since 1970; the year 5138.
_LATEST = 1e14


class LoggedRequest(NamedTuple):
    """One request of a log: `time` in ms since 1970, names, and the arguments' bytes."""

    time: float
    server: str
    service: str
    method: str
    arguments: bytes

    def unpack(self, kind: Any) -> Any:
        """Return the arguments, as an instance of `kind`, the method's class of arguments.

        Raises ValueError if the bytes are not such a struct.
        """
        protocol = TBinaryProtocol(TMemoryBuffer(self.arguments))
        try:
            arguments = kind()
            return arguments.read(protocol) or arguments
        except Exception as exc:
            reason = str(exc) or type(exc).__name__
            raise ValueError(f'not the arguments of {self.method}: {reason}') from exc


def read(
    path: str, skipped: Callable[[int, str], None]
) -> Iterator[tuple[int, LoggedRequest]]:
    """Return the requests of a log with the numbers of their lines, in its order.

    `skipped(line, reason)` is called for each line with something that is not a request.
    Raises OSError if the file can't be read.
    """
    with Path(path).open(encoding='utf-8', errors='replace') as file:
        for number, line in enumerate(file, 1):
            try:
                request = _parse(line)
            except ValueError as exc:
                begin = line.rfind(_BEGIN)
                if begin <= 0:
                    skipped(number, str(exc))
                    continue
                try:
                    request = _parse(line[begin:])
                except ValueError:
                    skipped(number, str(exc))
                    continue
                skipped(number, f'{begin} characters of an incomplete request before another one')
            yield number, request


def _parse(line: str) -> LoggedRequest:
    try:
        found = json.loads(line)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    except ValueError:
        raise ValueError('it is not JSON') from None
    if not isinstance(found, dict) or any(
        not isinstance(found.get(key), kind) for key, kind in _KEYS.items()
    ):
        raise ValueError(f'it is not an object with {", ".join(_KEYS)}')
    time = found['time']
    if isinstance(time, bool) or not math.isfinite(time) or not 0 <= time <= _LATEST:
        raise ValueError('its time is not one in ms since 1970')
    try:
        arguments = b64decode(found['arguments'], validate=True)
    except ValueError:
        raise ValueError('its arguments are not base64') from None
    return LoggedRequest(time, found['server'], found['service'], found['method'], arguments)
