"""Draw terminals: python docs/pictures/terminals.py writes the SVGs in terminals/.

Every picture is a real run on a pseudo-terminal of 80 columns, against servers that this
script starts on the ports 9901 to 9903 of this machine.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

import thrift_client
from thrift_client.testing import Server

HERE = Path(__file__).parent
COLUMNS, ROWS = 80, 60
QUIET_S, PATIENCE_S = 1.0, 30

#: Without the font that rich would have the reader's machine fetch.
SVG = re.sub(r'@font-face \{\{.*?\n    \}\}\n', '', CONSOLE_SVG_FORMAT, flags=re.DOTALL)

#: The line after which bash completes, and what bash reads before it.
COMPLETES = 'eval "$(thrift-client completion bash)"'
BASHRC = f"""
PS1=$'\\[\\e[1m\\]$ '
bind 'set show-all-if-ambiguous on'
thrift-client() {{ {shlex.quote(sys.executable)} -m thrift_client "$@"; }}
{COMPLETES}
"""

#: Makes the terminal the one whose Ctrl-C the process gets.
BEGIN = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.argv[0] = 'thrift-client'
runpy.run_module('thrift_client', run_name='__main__', alter_sys=True)
"""

ONE = '-s shop.thrift -a localhost:9901'
ALL = '-s shop.thrift -a eu=localhost:9901 -a us=localhost:9902 -a asia=localhost:9903'
ORDER = """'{"order": {"id": 1, "item": "pear", "payment": {"card": "1234"}}}'"""


COUNTED = "'{\"order\": {\"id\": {{n}}}}'"


class Shot(NamedTuple):
    """A picture: the command lines, what is typed into the last one, and what it may leave out."""

    name: str
    lines: tuple[str, ...]
    keys: tuple[str, ...] = ()
    most: int = 40


SHOTS = (
    Shot('call', (f'call {ONE} place {ORDER}', f'call {ONE} find 1', f'call {ONE} -v find 7')),
    Shot('all', (f'all {ALL} version',)),
    Shot('watch', (f'all {ALL} --watch 2s version',), ('q',)),
    Shot('shell', (f'shell {ONE}',), (
        'version\r', 'pla\t {"order": {"id": 2, "sta\t"S\t}}\r', '\\timing on\r', 'find 1\r',
        'find 9\r', '\x04',
    )),
    Shot('list', ('list -s shop.thrift',)),
    Shot('describe', ('describe -s shop.thrift place',)),
    Shot('probe', ('probe localhost:9902',)),
    Shot('bench', (f'bench {ALL} -c 4 --duration 2s place {COUNTED}',)),
    Shot('route', (f'route {ALL} --routing ketama find 42',)),
    Shot('plan', (
        'plan -a eu=h1:9090 -a us=h2:9090 --add asia=h3:9090 --routing rendezvous',
    )),
    Shot('replay', (
        f'call {ONE} --log-filename requests.log version',
        f'call {ONE} --log-filename requests.log find 1',
        'replay -s shop.thrift -a localhost:9901 --speed max requests.log',
    )),
    Shot('stubs', ('stubs shop.thrift',)),
    Shot('options', ('options',), most=24),
    Shot('doctor', ('doctor',)),
    Shot('demo', ('demo',), most=44),
    Shot('help', ('call --help',), most=40),
    Shot('completion', (COMPLETES,), (
        'thrift-client call -s sh\t-a localhost:9901 \t', 'ver\t', '\r',
    )),
)  # fmt: skip


class Shop:
    """Handles the service of shop.thrift."""

    def __init__(self, module: object) -> None:
        self._module = module
        self._orders: dict[int, object] = {}

    def version(self) -> str:
        """Answer."""
        return '1.4'

    def place(self, order: object) -> object:
        """Keep an order."""
        self._orders[order.id] = order
        return order.status

    def find(self, id: int) -> object:
        """Return an order."""
        if id not in self._orders:
            raise self._module.NotFound(id)
        return self._orders[id]


class Screen:
    """What a terminal shows: lines of cells, each a character and the colours it has."""

    _PART = re.compile(r'\x1b\[([0-9;?]*)([A-Za-z])|\x1b[=>]|\x1b\][^\x07]*\x07|([\s\S])')

    def __init__(self) -> None:
        self._lines: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ''

    def write(self, text: str) -> None:
        """Obey a text, sequences included."""
        for found in self._PART.finditer(text):
            if found[2]:
                self._obey(found[1], found[2])
            elif found[3]:
                self._put(found[3])

    def ansi(self) -> Iterator[str]:
        """The lines, with sequences for the colours alone."""
        for line in self._lines:
            written, before = '', ''
            for character, style in line:
                if style != before:
                    written, before = f'{written}\x1b[0m{style}', style
                written += character
            yield f'{written}\x1b[0m'.rstrip()

    def _put(self, character: str) -> None:
        if character == '\r':
            self._column = 0
        elif character == '\n':
            self._go(self._row + 1)
        elif character == '\b':
            self._column = max(0, self._column - 1)
        elif character >= ' ':
            if self._column == COLUMNS:
                self._column = 0
                self._go(self._row + 1)
            line = self._lines[self._row]
            line += [(' ', '')] * (self._column + 1 - len(line))
            line[self._column] = (character, self._style)
            self._column += 1

    def _go(self, row: int) -> None:
        self._row = max(0, row)
        self._lines += [[] for _ in range(self._row + 1 - len(self._lines))]

    def _obey(self, given: str, what: str) -> None:
        number = int(given) if given.isdigit() else 1
        if what == 'm':
            self._style = '' if given in ('', '0') else f'{self._style}\x1b[{given}m'
        elif what in 'AB':
            self._go(self._row + (number if what == 'B' else -number))
        elif what in 'CD':
            self._column = max(0, self._column + (number if what == 'C' else -number))
        elif what == 'K':
            del self._lines[self._row][0 if given == '2' else self._column :]
        elif what == 'J':
            del self._lines[self._row][self._column :], self._lines[self._row + 1 :]


def run(line: str, keys: tuple[str, ...], folder: str, screen: Screen) -> None:
    """Run a command on a terminal that shows it; each of `keys` is typed when it is quiet."""
    command, shown = [sys.executable, '-c', BEGIN, *shlex.split(line)], f'thrift-client {line}'
    if line == COMPLETES:
        Path(folder, 'bashrc').write_text(BASHRC)
        command, shown = ['bash', '--rcfile', 'bashrc', '-i'], line
    screen.write(f'\x1b[1m$ {wrapped(shown)}\x1b[0m\r\n')
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', ROWS, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ('COLUMNS', 'LINES')}
    settings = {'TERM': 'xterm-256color', 'PROMPT_TOOLKIT_NO_CPR': '1', 'XDG_STATE_HOME': folder}
    process = subprocess.Popen(  # noqa: S603 - this script's own commands
        command,
        stdin=follower, stdout=follower, stderr=follower, cwd=folder,
        env=kept | settings | {'PYTHONPATH': str(HERE.parents[1])}, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    typed = [part for key in keys for part in re.findall(r'[^\t]*\t|[^\t]+', key)]
    decoder = codecs.getincrementaldecoder('utf-8')('replace')
    until = monotonic() + PATIENCE_S
    while monotonic() < until:
        if select.select([leader], [], [], QUIET_S)[0]:
            try:
                screen.write(decoder.decode(os.read(leader, 1 << 16)))
            except OSError:  # Linux's end of a terminal
                break
        elif typed:
            os.write(leader, typed.pop(0).encode())
        elif line == COMPLETES:
            process.kill()
    else:
        process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(leader)


def wrapped(line: str) -> str:
    """Break a command line that is too long, as one would write it."""
    lines = ['']
    for word in re.findall(r"-\w \S+|'[^']*'|\S+", line):
        if lines[-1] and len(lines[-1]) + len(word) > COLUMNS - 6:
            lines[-1] += ' \\'
            lines.append(f'    {word}')
        else:
            lines[-1] += f' {word}' if lines[-1] else word
    return '\r\n'.join(lines)


def draw(shot: Shot, folder: str) -> None:
    """Run a picture's commands and write its SVG."""
    screen = Screen()
    for line in shot.lines:
        run(line, shot.keys if line == shot.lines[-1] else (), folder, screen)
    lines = list(screen.ansi())
    while lines and not lines[-1].replace('\x1b[0m', ''):
        lines.pop()
    if len(lines) > shot.most:
        lines = [*lines[: shot.most], '[…]']
    with Path(os.devnull).open('w') as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in lines:
            console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title='thrift-client', code_format=SVG, unique_id=shot.name)
    (HERE / 'terminals' / f'{shot.name}.svg').write_text(svg)


def main() -> None:
    """Start the servers and take every picture, or those that are named."""
    wanted = set(sys.argv[1:])
    module = thrift_client.load(HERE / 'shop.thrift')
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder, 'shop.thrift').write_text((HERE / 'shop.thrift').read_text())
        for port, transport in ((9901, 'buffered'), (9902, 'buffered'), (9903, 'buffered')):
            made = Server(module.Shop, Shop(module), port=port, transport=transport)
            stack.enter_context(made)
        for shot in SHOTS:
            if not wanted or shot.name in wanted:
                draw(shot, folder)


if __name__ == '__main__':
    main()
