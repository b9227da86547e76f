"""`stubs`: mypy knows the module that `load` returns, and lets others without a stub be."""

import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).parents[1]

GOOD = """\
from types import ModuleType
from typing import TYPE_CHECKING, assert_type

import thrift_client

if TYPE_CHECKING:
    import rich_thrift as rich
else:
    rich = thrift_client.load('rich.thrift')

client = thrift_client.SimpleClient(rich.rich_service)
assert_type(client.add(1, 2), int)
assert_type(client.color(rich.Color.RED), rich.Color)
sent = client.options(rich.Optional('must'))
assert_type(sent.must, str)  # required
assert_type(sent.may, 'str | None')  # optional
assert_type(sent.some, str)  # with a default
assert_type(client.version(), str)  # of an included service
assert_type(rich.NotFound('x').key, 'str | None')
pool = thrift_client.ThreadedHashClient(rich.rich_service)
assert_type(pool.all.version()[0].value(), str)


def without_stubs(module: ModuleType) -> None:
    thrift_client.HashClient(module).all.version()
    thrift_client.ThreadedHashClient(module).all.version()
"""
#: One mistake on each line.
BAD = """\
import rich_thrift as rich, thrift_client
rich.Optional()
client = thrift_client.SimpleClient(rich.rich_service)
client.add(1, 'x')
client.color(3)
client.nothing(1)
rich.Color.PURPLE
"""


def run_mypy(folder, stubs, *files):
    """Return what strict mypy says of files, with the stubs in a folder."""
    (folder / 'mypy.ini').write_text(
        '[mypy]\nstrict = True\nfollow_imports = silent\n'
        f'mypy_path = {folder / stubs}:{TEST.parent}\n'
        '[mypy-thrift.*]\nignore_missing_imports = True\n'
    )
    return subprocess.run(
        [sys.executable, '-m', 'mypy', *files],
        capture_output=True, text=True, cwd=folder, check=False,
    ).stdout  # fmt: skip


@pytest.mark.long
def test_mypy_knows_a_loaded_module(process, tmp_path):
    """Strict: required and optional fields, enums, includes; `pool.all` without stubs, too."""
    for name in ('rich.thrift', 'shared_base.thrift'):
        (tmp_path / name).write_text((TEST / name).read_text())
    done = process('stubs', 'rich.thrift')
    assert sorted(done.stdout.split()) == [
        'rich_thrift/__init__.pyi', 'rich_thrift/rich_service.pyi',
        'shared_base_thrift/__init__.pyi', 'shared_base_thrift/base_service.pyi',
    ]  # fmt: skip
    (tmp_path / 'good.py').write_text(GOOD)
    (tmp_path / 'bad.py').write_text(BAD)
    said = run_mypy(tmp_path, '.', 'good.py', 'bad.py', *done.stdout.split())
    errors = [line.split(':')[:2] for line in said.splitlines() if ': error:' in line]
    assert {tuple(each) for each in errors} == {
        ('bad.py', str(line)) for line in (2, 4, 5, 6, 7)
    }, said


def test_files_of_one_name_have_stubs_of_their_own(process, tmp_path):
    """Also if one of them is included before it is named."""
    for folder, struct in (('left', 'L'), ('right', 'R')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'common.thrift').write_text(f'struct {struct} {{}}\nservice S {{}}')
    (tmp_path / 'mid.thrift').write_text('include "right/common.thrift"')
    main = 'include "left/common.thrift"\ninclude "mid.thrift"'
    (tmp_path / 'main.thrift').write_text(main)
    done = process('stubs', '-o', 'out', 'main.thrift', 'right/common.thrift')
    assert (done.returncode, done.stderr) == (0, '')
    stubs = [tmp_path / 'out' / f'common_thrift{end}' / '__init__.pyi' for end in ('', '_2')]
    assert ['class L:' in stub.read_text() for stub in stubs] == [True, False]
    assert ['class R:' in stub.read_text() for stub in stubs] == [False, True]


#: Names that Python's types make difficult.
ODD = """\
include "odd.base.thrift"
include "class.thrift"
enum Status { NEW }
typedef list<i32> Numbers
typedef string float
const bool flag = true
struct Item { 1: Status Status, 2: odd.base.Stamp str, 3: i32 number, 4: list<int> ints }
struct Any { 1: string any }
struct int { 1: i32 digits }
struct IntEnum { 1: Any any }
struct typing { 1: map<string, Any> typed }
service Odd {
    Item property(1: Numbers numbers)
    odd.base.Stamp at()
    void overload()
    Any Any(1: int int, 2: typing Callable, 3: i32 number)
    oneway void kind(1: class.Kind kind)
}
"""
ODD_GOOD = """\
from typing import TYPE_CHECKING, assert_type

import thrift_client

if TYPE_CHECKING:
    import odd_thrift as odd
else:
    odd = thrift_client.load('odd.thrift')

client = thrift_client.SimpleClient(odd.Odd)
numbers: odd.Numbers = [1]
item = client.property(numbers)
assert_type(item.Status, 'odd.Status | None')
assert_type(item.number, 'int | None')
assert_type(item.ints, 'list[odd.int] | None')
assert_type(odd.flag, bool)
assert_type(client.at().seconds, 'int | None')
assert_type(client.Any(odd.int(1), odd.typing({'a': odd.Any('b')}), 1).any, 'str | None')
assert_type(thrift_client.HashClient(odd.Odd).all.at()[0].value().seconds, 'int | None')
"""


#: A module of a package that has stubs in another folder: without one of its own it is anything.
PARTLY = """\
from shared.base import base_service, constants
import thrift_client

thrift_client.SimpleClient(base_service).version().upper()
print(constants.ANYTHING)
"""


@pytest.mark.long
def test_mypy_knows_names_that_are_difficult(process, tmp_path):
    """Fields, types, methods and files named as types, as keywords, or as what stubs need."""
    (tmp_path / 'odd.thrift').write_text(ODD)
    (tmp_path / 'odd.base.thrift').write_text('struct Stamp { 1: i64 seconds }')
    (tmp_path / 'class.thrift').write_text('struct Kind { 1: i64 number }')
    (tmp_path / 'odd_names.py').write_text(ODD_GOOD)
    (tmp_path / 'partly.py').write_text(PARTLY)
    written = process('stubs', '-o', 'types', 'odd.thrift').stdout.split()
    process('stubs', '--gen-py', TEST / 'gen-py', '-o', 'types', 'shared.base.base_service')
    said = run_mypy(tmp_path, 'types', 'odd_names.py', 'partly.py', *written)
    assert said == f'Success: no issues found in {2 + len(written)} source files\n'
