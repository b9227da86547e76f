"""Fixtures of the matrix, and the table of its rows that `make faults` writes."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from faults.harness import FaultCheck
from faults.rows import ROWS, table
from ways import WAYS_AND_WIRES

_ROW = re.compile(r'test_row_(\d\d)_')
_results = defaultdict(list)


def pytest_addoption(parser):
    """Let `make faults` name the file of the table."""
    parser.addoption('--fault-matrix', metavar='FILE', help='write the fault matrix to FILE')


def pytest_runtest_logreport(report):
    """Keep how each test of a row ended."""
    named = _ROW.search(report.nodeid)
    if named and (report.when == 'call' or not report.passed):
        _results[int(named[1])].append(report.outcome)


def pytest_terminal_summary(terminalreporter, config):
    """Print the matrix and write it, where that was asked for."""
    path = config.getoption('fault_matrix', None)
    if path is None:
        return
    text = table(_results)
    terminalreporter.write_line(text)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding='utf-8')


def pytest_collection_modifyitems(items):
    """Refuse a row that the matrix doesn't have."""
    for item in items:
        named = _ROW.match(item.name)
        if named and int(named[1]) not in ROWS:
            raise pytest.UsageError(f'{item.name}: there is no such row')


@pytest.fixture(params=WAYS_AND_WIRES, ids='-'.join)
def check(request, fault_server):
    """Check faults with each kind of client, over the wires that it reads differently."""
    way, transport, protocol = request.param
    return FaultCheck(way, fault_server, protocol=protocol, framed=transport == 'framed')
