"""Start a process of `bench.servers` and control it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Wire:
    """How requests and replies are encoded and framed."""

    protocol: str = 'binary'
    framed: bool = False
    #: The framing of the messages, one of `bench.speakers.SPEAKERS`.
    around: str = 'nothing'

    def __str__(self) -> str:
        framing = 'framed' if self.framed else 'buffered'
        return f'{self.protocol}, {framing if self.around == "nothing" else self.around}'


BUFFERED = Wire()


class Fleet:
    """`count` servers in one process of their own.

    `delay` is ms before each reply; of a large one, `piece` bytes are sent at once (0: all).
    """

    def __init__(self, count: int = 1, wire: Wire = BUFFERED, delay: float = 0, piece: int = 0):
        self.wire = wire
        command = [sys.executable, '-m', 'bench.servers', f'--protocol={wire.protocol}']
        command += [f'--count={count}', f'--delay={delay}', f'--piece={piece}']
        command += ['--framed'] * wire.framed
        command += [f'--around={wire.around}']
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        self.ports: list[int] = json.loads(self._process.stdout.readline())

    @property
    def port(self) -> int:
        """The first port."""
        return self.ports[0]

    def pin(self, processors: set[int]) -> None:
        """Let the servers run on these processors only.

        On a single one, which the client uses too, they wait until it sleeps. Servers on other
        machines can't preempt a client either; here they preempted slow contestants more often
        than fast ones, and saved them the sleep before the reply.
        """
        server = self._process.pid
        os.sched_setaffinity(server, processors)
        if len(processors) == 1:
            os.sched_setscheduler(server, os.SCHED_BATCH, os.sched_param(0))

    def longest(self) -> float:
        """Return the longest that a server with a delay took since this was last asked, in s."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b'\n')
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the servers."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
