"""The runner of mutants, on a small project: it tells the noticed, the surviving and the broken."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / 'mutants' / 'run.py'

# Each run starts several Pythons, which takes long where much else runs.
pytestmark = pytest.mark.timeout(180)

PROGRAM = """
def add(a, b):
    'Return the sum.'
    return a + b

def subtract(a, b):
    return a - b

def unused(a, b):
    return a * b
"""

OWN_TESTS = """
import program

def test_adds():
    assert program.add(1, 2) == 3
"""

OTHER_TESTS = """
import program

def test_subtracts():
    assert program.subtract(2, 1) == 1
"""

FAILS_ONCE = """
from pathlib import Path

def test_fails_once():
    ran = Path(__file__).with_name('ran')
    ran_before = ran.exists()
    ran.touch()
    assert ran_before
"""

APPLIES = """
import program

def test_every_mutant_of_the_project_applies():
    assert program.add.__doc__ == 'Return the sum.'
"""

MUTANT = """
[[mutant]]
name = '{}'
files = "*.py"
pattern = '{}'
replace = '{}'
tests = ["test_own.py"]
"""


@pytest.fixture
def run(tmp_path):
    """Run the mutants of a table on the project; returns the exit code and the output's lines."""

    def run(*mutants, own_tests=OWN_TESTS, other_tests=OTHER_TESTS):
        project = tmp_path / 'project'
        harness = project / 'test' / 'harness'
        harness.mkdir(parents=True)
        (harness / Path(__file__).name).write_text(APPLIES)
        files = {'program.py': PROGRAM, 'test_own.py': own_tests, 'test_other.py': other_tests}
        for name, text in files.items():
            (project / name).write_text(text)
        (project / 'pytest.ini').write_text('[pytest]\npythonpath = .\n')
        table = tmp_path / 'mutants.toml'
        table.write_text(''.join(MUTANT.format(*row) for row in mutants))
        done = subprocess.run(
            [sys.executable, RUN, '--root', project, '--table', table, '--workers', '0'],
            capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
        assert done.stderr == ''
        assert (project / 'program.py').read_text() == PROGRAM
        return done.returncode, sorted(done.stdout.splitlines())

    return run


def test_mutants_are_noticed_or_survive_or_do_not_apply(run):
    """A mutant is noticed by its own tests or by any other; whatever else is a failure."""
    code, lines = run(
        ('adds wrong', r'a \+ b', 'a'),
        ('subtracts wrong', 'a - b', 'b - a'),
        ('multiplies wrong', r'a \* b', 'a'),
        ('matches nothing', 'a / b', 'a'),
        ('matches too much', 'return', 'pass'),
        ('is not Python', r'return a \+ b', 'return a +'),
        ('changes nothing', r'(a \+ b)', r'\1'),
    )
    told = [re.sub(r' \(.*', '', line) for line in lines]
    assert told == [
        '2 of 7 mutants are noticed',
        'BROKEN    changes nothing: the replacement changes nothing',
        'BROKEN    is not Python: the result is not Python: invalid syntax',
        'BROKEN    matches nothing: the pattern matches 0 times in *.py',
        'BROKEN    matches too much: the pattern matches 3 times in program.py',
        'SURVIVED  multiplies wrong',
        'noticed   adds wrong: test_own.py::test_adds',
        'noticed   subtracts wrong: test_other.py::test_subtracts',
    ]
    assert code == 1


def test_the_exit_code_is_0_where_all_are_noticed(run):
    """The exit code is 0 if tests notice all mutants, as make and CI need it."""
    code, lines = run(('adds wrong', r'a \+ b', 'a'))
    assert (code, lines[0]) == (0, '1 of 1 mutants are noticed')


def test_a_mutant_that_only_rewords_a_docstring_survives(run):
    """The test of the patterns, which fails on each mutant, says nothing about the code."""
    code, lines = run(('rewords a docstring', 'Return the sum', 'Return a sum'))
    assert code == 1
    assert re.sub(r' \(.*', '', lines[1]) == 'SURVIVED  rewords a docstring'


def test_tests_that_fail_without_a_mutant_prove_nothing(run):
    """The runner ends before the first mutant."""
    code, lines = run(('adds wrong', r'a \+ b', 'a'), own_tests='def test_fails():\n    assert 0')
    assert (code, lines) == (1, ['test_own.py::test_fails fails without any mutant'])


def test_another_test_that_fails_without_the_mutant_proves_nothing(run):
    """A mutant that only such a test fails on may have survived."""
    code, lines = run(
        ('multiplies wrong', r'a \* b', 'a'), other_tests='def test_fails():\n    assert 0'
    )
    assert code == 1
    assert re.sub(r' \(.*', '', lines[1]) == (
        'BROKEN    multiplies wrong: test_other.py::test_fails fails without it, too'
    )


def test_a_test_that_fails_only_sometimes_proves_nothing(run):
    """It is repeated on the mutant: on a busy machine, any test may fail once."""
    code, lines = run(('multiplies wrong', r'a \* b', 'a'), other_tests=FAILS_ONCE)
    assert code == 1
    assert re.sub(r' \(.*', '', lines[1]) == (
        'BROKEN    multiplies wrong: test_other.py::test_fails_once fails only sometimes'
    )


def test_every_mutant_of_the_project_applies():
    """A change of the code that a mutant is about must change the mutant, too."""
    runner = runpy.run_path(str(RUN))
    rows = tomllib.loads(runner['TABLE'].read_text())['mutant']
    mutants = [runner['Mutant'](**row) for row in rows]
    broken = []
    for mutant in mutants:
        try:
            mutant.apply(runner['ROOT'])
        except runner['NotApplicable'] as exc:
            broken.append(f'{mutant.name}: {exc}')
    assert len(mutants) > 50
    assert broken == []
