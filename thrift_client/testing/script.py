"""Chooses the behaviour of a fault server's next exchange."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from thrift_client.testing.behaviours import Behaviour


class Turn(NamedTuple):
    """The position of an exchange; all three numbers count from 0."""

    connection: int
    request: int
    """Among those of its connection."""
    arrival: int
    """Among those of the server."""


Script = Behaviour | Sequence[Behaviour] | Callable[[Turn], Behaviour]
"""One behaviour for all, or one after the other with the last one for all that follow, or a choice.

A sequence goes by arrival, whatever the connection; `per_connection` goes by connection.
"""


class Cue:
    """Returns the behaviours of a script in turn; thread-safe.

    Raises ValueError (the script is an empty sequence) and TypeError (the script is nothing
    that `Script` names).
    """

    def __init__(self, script: Script) -> None:
        self._choose = _chooser(script, lambda turn: turn.arrival)
        self._arrivals = itertools.count()  # atomic: no number is used twice

    def next(self, connection: int, request: int) -> Behaviour:
        """Return the behaviour for a connection's request that is just arriving."""
        return self._choose(Turn(connection, request, next(self._arrivals)))


def per_connection(*scripts: Behaviour | Sequence[Behaviour]) -> Callable[[Turn], Behaviour]:
    """Give the first connection the first script, and so on; the last one serves all others.

    A sequence goes by the requests of its connection.

    Raises ValueError if the script is missing or empty.
    """
    if not scripts:
        raise ValueError('a script for at least one connection is needed')
    choosers = [_chooser(script, lambda turn: turn.request) for script in scripts]
    return lambda turn: choosers[min(turn.connection, len(choosers) - 1)](turn)


def _chooser(script: Script, number: Callable[[Turn], int]) -> Callable[[Turn], Behaviour]:
    if isinstance(script, Behaviour):
        return lambda _: script
    if isinstance(script, Sequence):
        behaviours = tuple(script)
        if not behaviours:
            raise ValueError('a script needs at least one behaviour')
        if strangers := [item for item in behaviours if not isinstance(item, Behaviour)]:
            raise TypeError(f'{strangers[0]!r} is not a behaviour')
        return lambda turn: behaviours[min(number(turn), len(behaviours) - 1)]
    if callable(script):
        return script
    raise TypeError(f'{script!r} is not a behaviour, a sequence of behaviours or a choice of one')
