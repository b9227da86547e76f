"""`stubs` of a .thrift file: mypy knows the module that `load` returns."""

import subprocess
import sys
from pathlib import Path

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
    (tmp_path / 'mypy.ini').write_text(
        f'[mypy]\nstrict = True\nfollow_imports = silent\nmypy_path = {tmp_path}:{TEST.parent}\n'
        '[mypy-thrift.*]\nignore_missing_imports = True\n'
    )
    checked = subprocess.run(
        [sys.executable, '-m', 'mypy', 'good.py', 'bad.py', *done.stdout.split()],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    errors = [line.split(':')[:2] for line in checked.stdout.splitlines() if ': error:' in line]
    assert {tuple(each) for each in errors} == {
        ('bad.py', str(line)) for line in (2, 4, 5, 6, 7)
    }, checked.stdout
