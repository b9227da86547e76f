"""Raise an exception at a given line of those that a call executes in the package."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

from thrift.Thrift import TApplicationException

import thrift_client
from thrift_client import errors

#: What a handler's own call raises, which is not about the call that it interrupts.
OF_ITS_CALLS = (
    lambda: errors.ConnectError('injected'),
    lambda: errors.CallTimeout('injected', phase='connecting'),
    lambda: errors.ConnectionLost('injected', phase='sending', maybe_executed=False),
    lambda: errors.DecodeError('injected'),
    lambda: errors.EncodeError('injected'),
    lambda: errors.ClientClosed('injected'),
    lambda: TApplicationException(6, 'injected'),
)

PACKAGE = str(Path(thrift_client.__file__).parent)


def shown(error):
    """All that an exception says, with what the library adds to its own."""
    return repr(error), str(error), getattr(error, 'server', None)


class Injector:
    """A trace function that raises `exception` at the line number `at`, counted as they run.

    As a context manager it traces this thread. `lines` is how many have run, of those in files
    whose names end in `within`. Left out is
    what no interpreter can guard: the ends of `with` blocks and the word `try` (where CPython
    itself doesn't look for signals), and `__del__`, out of which no exception comes.
    """

    def __init__(self, at=-1, exception=KeyboardInterrupt, within='.py'):
        self.lines = 0
        self.where = None
        self._at, self._exception, self._within = at, exception, within

    def __enter__(self):
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(None)

    def _enter_frame(self, frame, event, _):
        file = frame.f_code.co_filename
        is_counted = file.startswith(PACKAGE) and file.endswith(self._within)
        if not is_counted or _in_finalizer(frame):
            return None
        last = 0

        def on_line(frame, event, _):
            nonlocal last
            if event == 'line' and not _is_unguarded(frame, last):
                self.lines += 1
                if self.lines == self._at:
                    self.where = f'{frame.f_code.co_filename}:{frame.f_lineno}'
                    raise self._exception('injected')
            last = frame.f_lineno if event == 'line' else last
            return on_line

        return on_line


def _in_finalizer(frame):
    while frame is not None:
        if frame.f_code.co_name == '__del__':
            return True
        frame = frame.f_back
    return False


@functools.cache
def _withs(filename):
    tree = ast.parse(Path(filename).read_text())
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.With))
    return {node.lineno: range(node.lineno + 1, node.end_lineno + 1) for node in nodes}


@functools.cache
def _tries(filename):
    tree = ast.parse(Path(filename).read_text())
    return {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Try)}


def _is_unguarded(frame, last):
    """Whether a line is a bare `try`, or runs again after `last` to leave its `with` block."""
    filename, line = frame.f_code.co_filename, frame.f_lineno
    return line in _tries(filename) or last in _withs(filename).get(line, ())
