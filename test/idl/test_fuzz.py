"""Whatever a file holds, `load` ends and raises nothing but IdlError."""

from __future__ import annotations

import random
import re
import time

import pytest

from idl.oracle import CORPUS
from thrift_client import errors, load

TOKENS = re.compile(rb'[A-Za-z_][\w.]*|[0-9]+|\s+|"[^"\n]*"|.', re.DOTALL)
ODD = [
    b'{', b'}', b'<', b'>', b'(', b')', b',', b'=', b':', b'"', b"'", b'/*', b'*/', b'#', b'-1',
    b'0', b'1e999', b'0x', b'struct', b'S', b'list', b'map', b'i32', b'string', b'Color.RED',
    b'include', b'typedef', b'const', b'extends', b'self', b'__init__', b'__class__', b'None',
    b'99999999999999999999', b'\x00', b'\xff', b'\xef\xbb\xbf', b'', b'required', b'service',
]
FILES = ['constants.thrift', 'everything.thrift', 'including.thrift', 'lenient.thrift']
ROUNDS = 80


def mutated(data, chance):
    """The text with a few tokens or bytes changed, left out, doubled or swapped."""
    tokens = TOKENS.findall(data)
    for _ in range(chance.randint(1, 4)):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        change = chance.randrange(5)
        if change == 0:
            tokens[at] = chance.choice(ODD)
        elif change == 1:
            tokens[at] = tokens[other]
        elif change == 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif change == 3:
            del tokens[at : at + chance.randint(1, 5)]
            tokens = tokens or [b' ']
        else:
            inner = bytearray(tokens[at] or b' ')
            inner[chance.randrange(len(inner))] = chance.randrange(256)
            tokens[at] = bytes(inner)
    return b''.join(tokens)


@pytest.mark.parametrize('name', FILES)
def test_changed_texts(name, tmp_path):
    """Each round's text is one that nobody wrote."""
    data = (CORPUS / name).read_bytes()
    chance = random.Random(name)
    loaded = 0
    for i in range(ROUNDS):
        file = tmp_path / f'fuzz{i}.thrift'
        file.write_bytes(mutated(data, chance))
        began = time.monotonic()
        try:
            load(file, [CORPUS], f'tests_fuzz_{i}')
            loaded += 1
        except errors.IdlError as exc:
            assert exc.line >= 1  # noqa: PT017
        assert time.monotonic() - began < 10
    assert 0 < loaded < ROUNDS


def test_bytes_at_random(tmp_path):
    """No text at all."""
    chance = random.Random(7)
    for i in range(100):
        file = tmp_path / 'random.thrift'
        file.write_bytes(chance.randbytes(chance.randint(0, 200)))
        try:
            load(file, module_name=f'tests_random_{i}')
        except errors.IdlError:
            continue
