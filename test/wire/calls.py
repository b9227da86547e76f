"""Every method of rich_service with arguments that are hard to carry, and its result."""

from __future__ import annotations

import time
import uuid

import pytest
from thrift.Thrift import TApplicationException

from rich_if.ttypes import (
    Choice,
    Color,
    Everything,
    NotFound,
    Numbers,
    Optional,
    Refused,
    Small,
    Tree,
)
from shared.base.ttypes import Outdated, Stamp

TEXT = 'grüße, 世界 🦊 "\\/\n\t'
RAW = bytes(range(256))
EXTREMES = Numbers(True, -128, 32767, -(2**31), 2**63 - 1, 5e-324)
LEAVES = Tree('root', [Tree('', []), Tree(TEXT, [Tree('leaf', [])])])
EVERYTHING = Everything(
    numbers=EXTREMES,
    text=TEXT,
    raw=RAW,
    color=Color.BLUE,
    user=-(2**63),
    tree=LEAVES,
    indexes=[{}, {TEXT: {1, -1, 2**31 - 1}, '': set()}],
    smalls={TEXT: Small(0, ''), '': Small(1, TEXT)},
    tags={'', TEXT},
    colors={Color.RED, Color.GREEN},
    deep={-1: [{-32768: {0.1, -1e308}}, {}], 0: []},
    choice=Choice(small=Small(7, 'seven')),
    options=Optional(must='must'),
    stamp=Stamp(2**40, TEXT),
    flags=[True, False, True],
    chunks=[b'', RAW],
)

#: Of each method: its arguments and what it returns, or the exception that it raises.
CALLS = [
    ('version', (), '1.0'),
    ('stamped', (Stamp(-1, TEXT),), Stamp(-1, TEXT)),
    ('require', ('1.0',), None),
    ('require', ('9',), Outdated('1.0')),
    ('add', (2**31 - 1, -(2**31)), -1),
    ('echo', ('',), ''),
    ('echo', (TEXT * 200,), TEXT * 200),
    ('blob', (70_000,), bytes(i % 256 for i in range(70_000))),
    ('structs', (300,), [Small(i, f'small {i}') for i in range(300)]),
    ('structs', (0,), []),
    ('sleep_ms', (1,), None),
    ('mirror', (EVERYTHING,), EVERYTHING),
    ('mirror', (Everything(),), Everything()),
    ('tree', (LEAVES,), LEAVES),
    ('choice', (Choice(number=-5),), Choice(number=-5)),
    ('options', (Optional('m', limit=None, colors=[]),), Optional('m', limit=7, colors=[])),
    ('flag', (True,), True),
    ('flag', (False,), False),
    ('tiny', (-128,), -128),
    ('small', (32767,), 32767),
    ('medium', (-(2**31),), -(2**31)),
    ('large', (-(2**63),), -(2**63)),
    ('real', (1.7976931348623157e308,), 1.7976931348623157e308),
    ('real', (-0.0,), -0.0),
    ('raw', (RAW,), RAW),
    ('raw', (b'',), b''),
    ('color', (Color.GREEN,), Color.GREEN),
    ('nested', ([{}, {'a': {1}}],), [{}, {'a': {1}}]),
    ('tags', ({'', TEXT},), {'', TEXT}),
    ('texts', (['', TEXT],), ['', TEXT]),
    ('lookup', ([1, -2],), {i: Small(i, f'user {i}') for i in (1, -2)}),
    ('present', ({'ab', 'b'}, 'a'), {'ab'}),
    ('store', ({'k': Small(1, 'v')},), 1),
    ('find', ('key', False), 'found key'),
    ('find', ('missing', False), NotFound('missing')),
    ('find', (TEXT, True), Refused(403, f'{TEXT} is refused', [Small(1, TEXT)])),
    ('check', (0,), None),
    ('check', (-5,), Refused(-5, 'checked', [])),
    ('fail', ('on purpose',), TApplicationException(TApplicationException.INTERNAL_ERROR)),
    ('no_result', (), TApplicationException(TApplicationException.MISSING_RESULT)),
    ('nothing', (), None),
    ('defaults', ('text', 2, None, [1, 2]), 'text 2 None [1, 2]'),
    ('arguments', ('t', 'm', 's', 'n'), 't m s n'),
    ('close', ('c',), 'close c'),
    ('name', (), 'name'),
    ('host', (), 'host'),
    ('call', ('c',), 'call c'),
    ('submit', ('s',), 'submit s'),
    ('all', (), ['all']),
    ('servers', (), ['servers']),
    ('match', ('c',), 'match c'),
    ('case', ('t',), 'case t'),
    ('type', ('m',), 'type m'),
]

#: The calls of all kinds that a connection can carry: large, empty, nested, failing, inherited.
FEW = [
    call
    for call in CALLS
    if call[0] in {'version', 'require', 'blob', 'mirror', 'find', 'fail', 'nothing', 'flag'}
]

#: Methods without a reply, and the one that returns what they were sent.
ONEWAY, ASKED = ('fire', 'note'), 'fired'
ARRIVES_WITHIN_S = 5.0


def check_all(call):
    """Make every call by `call(name, *arguments)` and check what it returns or raises."""
    check_oneway(call)
    _check(call, CALLS)


def check_few(call):
    """Make a call of each kind, where the wire itself is tested elsewhere."""
    check_oneway(call)
    _check(call, FEW)


def _check(call, calls):
    for name, arguments, expected in calls:
        if isinstance(expected, Exception):
            with pytest.raises(type(expected)) as caught:
                call(name, *arguments)
            if isinstance(expected, TApplicationException):
                assert caught.value.type == expected.type, name
            else:
                assert caught.value == expected, name
        else:
            got = call(name, *arguments)
            assert got == expected, name
            assert not isinstance(got, float) or repr(got) == repr(expected), name  # -0.0 == 0.0


def check_oneway(call):
    """Make the calls without a reply, and wait until the server tells that they arrived."""
    sent = {f'{TEXT} {name} {uuid.uuid4()}': name for name in ONEWAY}
    for token, name in sent.items():
        assert call(name, token) is None
    until = time.monotonic() + ARRIVES_WITHIN_S
    while not sent.keys() <= set(call(ASKED)) and time.monotonic() < until:
        pass
    assert sent.keys() <= set(call(ASKED))
