"""What this system has of what tests ask for, and what they use of it."""

import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from bare_system.missing import MODULES, NAMES

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

#: What a test names in `@pytest.mark.needs(...)`.
HAS = {
    'fork': hasattr(os, 'fork'),
    'unix sockets': hasattr(socket, 'AF_UNIX'),
    'interval timers': hasattr(signal, 'setitimer'),
    'signals': hasattr(signal, 'pthread_kill') and hasattr(signal, 'SIGUSR1'),
    'resource': sys.modules.get('resource', True) is not None
    and importlib.util.find_spec('resource') is not None,
    'black holes': sys.platform == 'linux',
    # Except on Windows, Twisted's reactor imports them.
    'twisted': hasattr(socket, 'AF_UNIX') or sys.platform == 'win32',
    '/proc': Path('/proc/self/fd').is_dir(),
}

#: What some values of parameters need: kinds of servers and of addresses.
_NEEDED_BY = {
    'forking': 'fork',
    'processpool': 'fork',
    'twisted': 'twisted',
    'unix': 'unix sockets',
}


def with_needs(values):
    """Mark those values of a test's parameter that need what a system may lack."""
    return [
        pytest.param(value, marks=pytest.mark.needs(_NEEDED_BY[value]))
        if value in _NEEDED_BY
        else value
        for value in values
    ]


def removable():
    """List what `bare_system` takes away and is there all the same."""
    found = [
        f'{module}.{name}'
        for module, names in NAMES.items()
        for name in names
        if hasattr(importlib.import_module(module), name) and name != 'socketpair'
    ]
    return found + [name for name in MODULES if sys.modules.get(name, name) is not None]


def lock_file(file):
    """Wait until no other process has locked an open file, and lock it until it is closed.

    Without `fcntl` nobody waits: each process makes what it needs.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
