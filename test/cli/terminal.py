"""A command on a pseudo-terminal, to type into and to read from."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from time import monotonic

#: Sequences that colour, move the cursor or rename the window.
ESCAPE = re.compile(r'\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])')
PATIENCE_S = 20

#: Makes the terminal the one whose Ctrl-C the process gets.
_BEGIN = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module('thrift_client', run_name='__main__', alter_sys=True)
"""


class Terminal:
    """Runs `thrift-client` with these arguments; `text` is all that it showed, without escapes."""

    def __init__(self, arguments, environment, cwd, columns=80, rows=50):
        self.raw = ''
        self._seen = 0
        self._decoder = codecs.getincrementaldecoder('utf-8')('replace')
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        sized = {k: v for k, v in environment.items() if k not in ('COLUMNS', 'LINES')}
        self._process = subprocess.Popen(
            [sys.executable, '-c', _BEGIN, *map(str, arguments)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=cwd,
            env=sized | {'TERM': 'xterm-256color', 'PROMPT_TOOLKIT_NO_CPR': '1'},
            start_new_session=True,
        )
        os.close(follower)

    @property
    def text(self):
        """All that was shown, as lines of plain text."""
        return ESCAPE.sub('', self.raw).replace('\r\n', '\n')

    def expect(self, text):
        """Wait until it shows a text that comes after what was expected before."""
        until = monotonic() + PATIENCE_S
        while (found := self.text.find(text, self._seen)) < 0:
            left = until - monotonic()
            assert left > 0, f'waited for {text!r}:\n{self.text[self._seen:]}'
            assert self._read(left), f'it ended without {text!r}:\n{self.text[self._seen:]}'
        self._seen = found + len(text)

    def type(self, keys):
        r"""Press keys: `\t` completes, `\r` is Enter, `\x03` Ctrl-C."""
        os.write(self._leader, keys.encode())

    def end(self):
        """Wait for the end; returns the exit code."""
        until = monotonic() + PATIENCE_S
        while self._read(until - monotonic()):
            pass
        return self._process.wait(5)

    def close(self):
        """Kill it if it still runs; may be repeated."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._leader >= 0:
            os.close(self._leader)
            self._leader = -1

    def _read(self, seconds):
        """Read what there is within a time; False at the end."""
        if not select.select([self._leader], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._leader, 1 << 14)
        except OSError:  # Linux's end of a terminal
            return False
        self.raw += self._decoder.decode(data)
        return bool(data)
