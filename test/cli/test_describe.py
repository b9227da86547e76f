"""The commands `list` and `describe`: what gen-py code says about a service."""

import json
from pathlib import Path

import pytest

GEN_PY = Path(__file__).parents[1] / 'gen-py'


def test_list_names_the_services_of_a_folder(cli):
    """All service modules are found without importing any."""
    done = cli('list', '--gen-py', GEN_PY, '--json')
    expected = ['rich_if.rich_service', 'shared.base.base_service', 'test_if.test_service']
    assert json.loads(done.stdout) == expected


def test_list_shows_signatures_as_the_idl_has_them(cli):
    """Types, defaults, exceptions, oneway, and inherited methods."""
    lines = cli('list', '-s', 'rich_if.rich_service').stdout.splitlines()
    assert 'i32 add(1: i32 a, 2: i32 b)' in lines
    assert 'oneway void note(1: string token)' in lines
    assert 'map<i64, Small> lookup(1: list<i64> ids)' in lines
    assert (
        'string find(1: string key, 2: bool refuse) '
        'throws (1: NotFound missing, 2: Refused refused)'
    ) in lines
    assert any('1: string text = "text", 2: i32 times = 2' in line for line in lines)


def test_describe_gives_a_skeleton_that_can_be_sent(cli, rich):
    """`call` accepts the skeletons that `describe` prints, one for each method."""
    described = json.loads(cli('describe', '-s', 'rich_if.rich_service', '--json').stdout)
    by_name = {each['method']: each for each in described}
    assert len(by_name) == 46
    skeleton = by_name['mirror']['skeleton']
    assert skeleton['value']['options'] == {
        'must': '', 'may': '', 'some': 'some', 'limit': 7, 'colors': [1, 4],
    }
    del skeleton['value']['choice']['number'], skeleton['value']['choice']['small']
    done = rich('call', 'mirror', json.dumps(skeleton), '--json')
    assert json.loads(done.stdout) == skeleton['value'], done.stderr


def test_describe_shows_structs_and_exceptions(cli):
    """The fields of every struct that a method uses."""
    text = cli('describe', '-s', 'rich_if.rich_service', 'find').stdout
    assert '  exception NotFound {\n    1: string key\n  }\n' in text
    assert '    3: list<Small> details\n  }\n  struct Small {\n    1: i32 id\n' in text
    assert text.endswith('{"key": "", "refuse": false}\n')


def test_describe_shows_enums(cli):
    """As classes of numbers, which the compiler writes without an option."""
    target = ('-s', 'rich_if.rich_service', 'Color')
    assert cli('describe', *target).stdout.splitlines() == [
        'enum Color {', '  RED = 1', '  GREEN = 2', '  BLUE = 4', '}',
    ]  # fmt: skip
    (found,) = json.loads(cli('describe', '--json', *target).stdout)
    assert found['members'] == {'RED': 1, 'GREEN': 2, 'BLUE': 4}


@pytest.mark.parametrize(
    ('code', 'said'),
    [
        ('spam()', "NameError: name 'spam' is not defined"),
        ('1 / 0', 'ZeroDivisionError: division by zero'),
        ('import sys; sys.exit(0)', 'SystemExit: 0'),
        ('from os import spam', "cannot import name 'spam' from 'os'"),
        ('x = (', "SyntaxError: '(' was never closed"),
    ],
)
@pytest.mark.parametrize('command', [('list', '-s'), ('stubs',)])
def test_a_module_whose_code_fails_is_an_error(process, tmp_path, code, said, command):
    """Exit code 2 and the reason, without a traceback."""
    (tmp_path / 'gen-py').mkdir()
    (tmp_path / 'gen-py' / 'broken.py').write_text(code)
    done = process(*command, 'broken')
    assert done.returncode == 2
    assert done.stderr.startswith(f'Error: broken cannot be imported: {said}')
    assert 'Traceback' not in done.stderr
