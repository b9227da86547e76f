"""Apache's servers that fork, in a separate process.

The process ends when the other end of its socket pair is closed, by close() or because this
process died. The kernel reports that with SIGIO, whose handler ends everything at any point of
Apache's loop. (With a watching thread, each further fork would be one of a process with
threads.) All children are in the process group and hold the same end of the pair, so the other
side sees its end when the last of them has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import socket
import stat
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

from thrift.server.TProcessPoolServer import TProcessPoolServer
from thrift.server.TServer import TForkingServer

from thrift_client.testing.parts import CLOSE_WITHIN_S, START_WITHIN_S, Parts

KINDS = {'forking': TForkingServer, 'processpool': TProcessPoolServer}


class Forked:
    """A server in a child process; its handler is a copy, whose changes stay there."""

    def __init__(self, kind: str, parts: Parts) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self.pid = _fork()
            if self.pid == 0:
                _run(kind, parts, theirs)
        parts.listener.handle.close()
        self._listener = parts.listener
        self._control.settimeout(START_WITHIN_S)
        if self._control.recv(1) != b'+':
            self.close()
            raise RuntimeError(f'the {kind} server ended before it served')

    def close(self) -> None:
        """End the process and all its children, by SIGKILL those that take too long."""
        with self._control:
            self._control.shutdown(socket.SHUT_WR)
            self._control.settimeout(CLOSE_WITHIN_S)
            try:
                self._control.recv(1)
            except TimeoutError:
                os.killpg(self.pid, signal.SIGKILL)
                self._control.settimeout(None)
                self._control.recv(1)
        os.waitpid(self.pid, 0)
        self._listener.close()


def _fork() -> int:
    with warnings.catch_warnings():
        # The child never returns to the caller's code, so locks of other threads don't matter.
        warnings.simplefilter('ignore', DeprecationWarning)
        return os.fork()


def _run(kind: str, parts: Parts, control: socket.socket) -> NoReturn:
    try:
        os.setsid()
        _drop_sockets(keep={control.fileno(), parts.listener.handle.fileno()})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        multiprocessing.set_start_method('fork', force=True)
        server = _make(kind, parts)
        _end_with(control)
        control.send(b'+')
        server.serve()
    except BaseException:  # noqa: BLE001 - nothing may get back to the code that was forked
        traceback.print_exc()
    finally:
        os._exit(1)


def _make(kind: str, parts: Parts) -> Any:
    server = KINDS[kind](parts.processor, parts.listener, parts.transports, parts.protocols)
    if parts.workers is not None:
        server.setNumWorkers(parts.workers)
    return server


def _drop_sockets(keep: set[int]) -> None:
    """Close the connections and listeners of the parent, so that their peers can see their end.

    Their numbers stay occupied: an object of the parent that is collected here must not close a
    new connection with the same number.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for entry in list(Path('/dev/fd').iterdir()):
        number = int(entry.name)
        with contextlib.suppress(OSError):
            if number not in keep and number > 2 and stat.S_ISSOCK(os.fstat(number).st_mode):
                os.dup2(null, number, inheritable=False)


def _end_with(control: socket.socket) -> None:
    leader = os.getpid()

    def end(*_: object) -> None:
        # The signal also comes when the socket is writable; nothing can be read then.
        with contextlib.suppress(BlockingIOError):
            if os.getpid() == leader and not control.recv(1):
                _end_all()

    control.setblocking(False)
    signal.signal(signal.SIGIO, end)
    fcntl.fcntl(control, fcntl.F_SETOWN, leader)
    fcntl.fcntl(control, fcntl.F_SETFL, fcntl.fcntl(control, fcntl.F_GETFL) | os.O_ASYNC)


def _end_all() -> NoReturn:
    # From within the signal's handler: an exception could be raised, and lost, in a hook of fork().
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    os._exit(0)
