"""The handlers of the services that tests call."""

from __future__ import annotations

import threading
import time

from rich_if.ttypes import NotFound, Refused, Small
from shared.base.ttypes import Outdated


class KeyValue:
    """Handles test_service: what setk() keeps, getk() returns; a key that is unknown fails."""

    def __init__(self):
        self._lock = threading.Lock()
        self._data = {}

    def ping(self):
        return 'pong'

    def setk(self, key, value):
        with self._lock:
            self._data[key] = value

    def getk(self, key):
        with self._lock:
            return self._data[key]

    def keys(self):
        with self._lock:
            return sorted(self._data)


def _same(self, value):
    return value


class Rich:
    """Handles rich_service: most methods return their argument."""

    def __init__(self):
        self._lock = threading.Lock()
        self._fired = []
        self._stored = {}

    # What it inherits.

    def version(self):
        return '1.0'

    def require(self, version):
        if version != self.version():
            raise Outdated(self.version())

    def note(self, token):
        self.fire(token)

    # What tests time, fill and count.

    def add(self, a, b):
        return a + b

    def blob(self, size):
        return bytes(range(256)) * (size // 256) + bytes(range(size % 256))

    def structs(self, n):
        return [Small(i, f'small {i}') for i in range(n)]

    def sleep_ms(self, ms):
        time.sleep(ms / 1000)

    def fire(self, token):
        with self._lock:
            self._fired.append(token)

    def fired(self):
        with self._lock:
            return list(self._fired)

    # Methods that return their argument.

    echo = mirror = tree = choice = options = flag = tiny = small = medium = large = _same
    real = raw = color = nested = tags = texts = stamped = _same

    # Shares of a list, a set and a map.

    def lookup(self, ids):
        return {i: Small(i, f'user {i}') for i in ids}

    def present(self, keys, prefix):
        return {key for key in keys if key.startswith(prefix)}

    def store(self, smalls):
        with self._lock:
            self._stored.update(smalls)
        return len(smalls)

    # What fails, and what has nothing to return.

    def find(self, key, refuse):
        if refuse:
            raise Refused(403, f'{key} is refused', [Small(1, key)])
        if key.startswith('missing'):
            raise NotFound(key)
        return f'found {key}'

    def check(self, code):
        if code:
            raise Refused(code, 'checked', [])

    def fail(self, message):
        raise RuntimeError(message)

    def no_result(self):
        return None

    def nothing(self):
        return None

    # How arguments arrive.

    def defaults(self, text, times, color, more):
        return f'{text} {times} {color} {more}'

    def arguments(self, timeout, method, server, name):
        return f'{timeout} {method} {server} {name}'

    # Names that a client itself has, and soft keywords.

    def close(self, s):
        return f'close {s}'

    def name(self):
        return 'name'

    def host(self):
        return 'host'

    def call(self, s):
        return f'call {s}'

    def submit(self, s):
        return f'submit {s}'

    def all(self):
        return ['all']

    def servers(self):
        return ['servers']

    def match(self, case):
        return f'match {case}'

    def case(self, type):
        return f'case {type}'

    def type(self, match):
        return f'type {match}'
