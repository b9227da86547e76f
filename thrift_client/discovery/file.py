"""A JSON or YAML file, watched.

It holds a list, by itself or under a key:

    ["kv-1:9090", {"host": "kv-2", "port": 9090, "name": "two", "weight": 2}]
    {"servers": [...]}
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Unpack

from thrift_client.discovery.member import Member, readable_of
from thrift_client.discovery.polled import checked_duration
from thrift_client.discovery.source import MOST_DATA, Reading, Source, SourceError
from thrift_client.discovery.stable import Policy, PolicyOptions

#: A file that was changed less than this ago may change again within one tick of its time
#: stamp.
_FRESH_NS = 2_000_000_000


class FileSource(Source):
    """Follows a file, which may be replaced or written in place; its order is kept.

    `path`: of a `.yaml` or `.yml` file, which needs PyYAML, or of a JSON file. `interval`: ms
    between checks of the file, also after a failure. `policy`: see `Policy`.

    Raises ValueError (a duration that can't be right) and ImportError (a YAML file, and PyYAML
    is not installed).
    """

    ordered = True

    def __init__(
        self, path: str | Path, *, interval: float = 1_000, **policy: Unpack[PolicyOptions]
    ) -> None:
        self._path = Path(path)
        self._interval = checked_duration('interval', interval)
        self._load = _loader(self._path)
        patience: PolicyOptions = {'retry': interval, 'max_retry': interval}
        super().__init__(f'file:{path}', Policy(**(patience | policy)))

    def open(self, wake: Callable[[], None]) -> FileReader:
        """Create a reader of the file."""
        del wake
        return FileReader(self._path, self._load, self._interval)


class FileReader:
    """Reads the file when it has changed."""

    def __init__(self, path: Path, load: Callable[[str], Any], interval: float) -> None:
        self._path = path
        self._load = load
        self._interval = interval
        self._seen: tuple[int, ...] | None = None
        self._found: tuple[tuple[Member, ...], tuple[str, ...]] = (), ()

    def read(self) -> Reading:
        """Return the list in the file."""
        try:
            with self._path.open(encoding='utf-8') as file:
                seen = _identity(file.fileno())
                if seen is None or seen != self._seen:
                    self._seen = None
                    self._found = _servers(self._load(_bounded(file)))
                    self._seen = seen
        except OSError as exc:
            raise SourceError(f'it cannot be read: {exc.strerror}') from exc
        except Exception as exc:
            # A YAML error is not a ValueError, and PyYAML may not be installed to be named.
            raise SourceError(f'it is not a list of servers: {exc}') from exc
        members, broken = self._found
        return Reading(members, self._interval, broken)

    def interrupt(self) -> None:
        """Do nothing: no step takes long."""

    def close(self) -> None:
        """Do nothing: no resource is held."""


def _identity(descriptor: int) -> tuple[int, ...] | None:
    """Return an identity of the file's content; None while it may still change unnoticed."""
    stat = os.fstat(descriptor)
    # A copy that keeps the time of the original has an old mtime, but not an old ctime.
    changed = stat.st_mtime_ns, stat.st_ctime_ns
    if any(abs(time.time_ns() - at) < _FRESH_NS for at in changed):
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, *changed


def _bounded(file: IO[str]) -> str:
    text = file.read(MOST_DATA + 1)
    if len(text) > MOST_DATA:
        raise ValueError(f'it is longer than {MOST_DATA} characters')
    return text


def _servers(document: object) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    if isinstance(document, dict):
        if set(document) != {'servers'}:
            raise ValueError('expected a list, or an object with the one key "servers"')
        document = document['servers']
    return readable_of(document)


def _loader(path: Path) -> Callable[[str], Any]:
    if path.suffix.lower() not in ('.yaml', '.yml'):
        return json.loads
    try:
        import yaml
    except ImportError as exc:
        raise ImportError(
            f"{path} needs PyYAML: pip install 'thrift_client[yaml]'", name='yaml'
        ) from exc
    return yaml.safe_load
