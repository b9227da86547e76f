"""Durations as people write them: `500ms`, `6s`, `2m`, `1h`; a plain number is milliseconds."""

from __future__ import annotations

import math
import re
from typing import Any

from thrift_client.cli.ui import DURATION, click

_UNITS = {'': 1, 'ms': 1, 's': 1000, 'm': 60_000, 'min': 60_000, 'h': 3_600_000}
_WRITTEN = re.compile(r'\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*', re.IGNORECASE)


def milliseconds(text: str) -> float:
    """Return the milliseconds that a text stands for. Raises ValueError."""
    found = _WRITTEN.fullmatch(text)
    factor = _UNITS.get(found[2].lower()) if found else None
    if found is None or factor is None:
        raise ValueError(f'{text!r} is not a duration: write 500ms, 6s or 2m')
    value = float(found[1]) * factor
    if not math.isfinite(value):
        raise ValueError(f'{text!r} is too long')
    return value


def has_unit(text: str) -> bool:
    """Tell whether a duration is written with its unit."""
    return not text.strip().replace('.', '', 1).isdigit()


def shown(ms: float) -> str:
    """Write a duration with the unit that is easiest to read."""
    for unit, factor in (('h', 3_600_000), ('m', 60_000), ('s', 1000)):
        if ms >= factor:
            return f'{ms / factor:g}{unit}'
    return f'{ms:g}ms'


class Duration(click.ParamType):  # type: ignore[type-arg]
    """The type of a flag that takes a duration above 0; its value is in milliseconds.

    A plain number below `least_plain` is taken, with a warning that names the unit.
    """

    name = DURATION

    def __init__(self, least_plain: float = 0) -> None:
        self.least_plain = least_plain

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a text, or take a number from a config file."""
        text = str(value)
        try:
            ms = milliseconds(text)
            if not ms > 0:
                raise ValueError(f'{text!r} is not above 0')
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
        if ms < self.least_plain and not has_unit(text):
            from thrift_client.cli.output import print_warning

            flag = param.opts[0] if param is not None else text
            print_warning(f'{flag} {text} is {text} ms; write {flag} {text}s for seconds')
        return ms
