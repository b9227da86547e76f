"""The standard streams: closed ones, full disks, and encodings that lack what is printed."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys

#: What a write to a full or broken disk fails with.
_UNWRITABLE = frozenset({errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})

_ESCAPE = 'thrift_client.escape'


def prepare() -> None:
    """Let commands use all streams: a closed one is empty, and output can show any text."""
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            # Never closed, as Python's own, so that no warning about it is printed at the end.
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(null, mode, encoding='utf-8', closefd=False))  # noqa: SIM115
    codecs.register_error(_ESCAPE, _escaped)
    # A user's own choice, as in PYTHONIOENCODING=latin-1:replace, is kept.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors=_ESCAPE)


def is_unwritable(exc: OSError) -> bool:
    """Tell whether the output could not be written, because a disk is full or broken."""
    return exc.errno in _UNWRITABLE


def drop_output() -> None:
    """Drop what is still buffered, which Python would write at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escaped(exc: UnicodeError) -> tuple[str, int]:
    """Replace characters by escape sequences of JSON, which most of the output is."""
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    return json.dumps(exc.object[exc.start : exc.end])[1:-1], exc.end
