"""Checks that the tests notice seeded mistakes: python test/mutants/run.py [WORDS OF A NAME …].

Each mutant of mutants.toml is applied alone to a copy of the repository. Its own tests run first;
where these pass, all tests run. The exit code is 1 if a mutant survives or doesn't apply.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name('mutants.toml')
NOT_COPIED = shutil.ignore_patterns(
    '.git', '.venv', '.nox', '.*_cache', '.hypothesis', '__pycache__', '*.egg-info', '_build',
    'build', 'dist',
)  # fmt: skip
PYTEST = (sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider')
#: It fails on every mutant of a copy: the pattern no longer matches there.
LEFT_OUT = 'test/harness/test_mutants.py::test_every_mutant_of_the_project_applies'
COPIES = 2
OWN_TESTS_S, ALL_TESTS_S = 300, 900
FAILED = re.compile(r'^(?:FAILED|ERROR) (\S+::.*?)(?: - |$)', re.MULTILINE)


class NotApplicable(Exception):
    """A mutant that doesn't fit the code, or tests that can't tell whether it is noticed."""


@dataclass(frozen=True)
class Mutant:
    """An entry of mutants.toml, which explains the fields."""

    name: str
    files: str
    pattern: str
    replace: str
    tests: list[str]

    def apply(self, root: Path) -> tuple[Path, str]:
        """Return the file that changes, and its new text.

        Raises:
            NotApplicable: the pattern doesn't match exactly once, or the result isn't Python.
        """
        pattern = re.compile(self.pattern, re.MULTILINE)
        texts = {path: path.read_text() for path in sorted(root.glob(self.files))}
        found = [path for path, text in texts.items() for _ in pattern.finditer(text)]
        if len(found) != 1:
            where = ', '.join(sorted({str(path.relative_to(root)) for path in found})) or self.files
            raise NotApplicable(f'the pattern matches {len(found)} times in {where}')
        text = pattern.sub(self.replace, texts[found[0]])
        try:
            compile(text, found[0], 'exec')
        except SyntaxError as exc:
            raise NotApplicable(f'the result is not Python: {exc}') from exc
        if text == texts[found[0]]:
            raise NotApplicable('the replacement changes nothing')
        return found[0], text


class Copy:
    """A copy of the repository, in which mutants replace a file for a while."""

    _times = itertools.count(1)

    def __init__(self, source: Path, folder: Path) -> None:
        self.root = folder
        shutil.copytree(source, folder, ignore=NOT_COPIED)

    def write(self, path: Path, text: str) -> None:
        """Replace a file, with a time of its own: compiled code is kept by time and size."""
        path.write_text(text)
        changed = next(self._times)
        os.utime(path, (changed, changed))

    def failure(self, limit: float, *arguments: str) -> str | None:
        """Run pytest here; returns the test that failed, or None if all passed within `limit` s.

        Raises:
            NotApplicable: no test ran, or a file of tests couldn't be imported.
        """
        with subprocess.Popen(
            [*PYTEST, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.root,
            env=os.environ | {'PYTHONPATH': str(self.root)},
            start_new_session=True,
        ) as tests:
            try:
                output, _ = tests.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                os.killpg(tests.pid, signal.SIGKILL)
                return f'no end within {limit:g} s'
        if tests.returncode == 0:
            return None
        failed = FAILED.search(output)
        if failed is None:
            raise NotApplicable(f'pytest ended with {tests.returncode}:\n{output[-2000:]}')
        return failed[1]


def noticed_by(mutant: Mutant, copy: Copy, all_tests: Sequence[str]) -> str | None:
    """Return a test that fails on the mutant; None if all tests pass.

    Raises:
        NotApplicable: the mutant doesn't fit the code, pytest can't run its tests, or the one
            that fails does so without it, too, or passes when it runs again.
    """
    path, text = mutant.apply(copy.root)
    original = path.read_text()
    copy.write(path, text)
    try:
        failed = copy.failure(OWN_TESTS_S, *mutant.tests)
        if failed is not None:  # they passed without the mutant
            return failed
        failed = copy.failure(ALL_TESTS_S, *all_tests)
        if failed is not None and '::' in failed and not copy.failure(OWN_TESTS_S, failed):
            raise NotApplicable(f'{failed} fails only sometimes')  # on a busy machine
    finally:
        copy.write(path, original)
    if failed is not None and '::' in failed and copy.failure(OWN_TESTS_S, failed):
        raise NotApplicable(f'{failed} fails without it, too')
    return failed


def check(mutant: Mutant, copies: SimpleQueue[Copy], all_tests: Sequence[str]) -> bool:
    """Run one mutant in a free copy and print what became of it; returns whether it is noticed."""
    copy, began = copies.get(), time.monotonic()
    try:
        test = noticed_by(mutant, copy, all_tests)
    except NotApplicable as exc:
        said = f'BROKEN    {mutant.name}: {exc}'
    else:
        said = f'noticed   {mutant.name}: {test}' if test else f'SURVIVED  {mutant.name}'
    finally:
        copies.put(copy)
    print(f'{said} ({time.monotonic() - began:.1f} s)', flush=True)
    return said.startswith('noticed')


def main() -> int:
    """Check the mutants; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('words', nargs='*', help='only mutants with one of these in their names')
    parser.add_argument('--root', type=Path, default=ROOT, help='the repository')
    parser.add_argument('--table', type=Path, default=TABLE, help='another table of mutants')
    parser.add_argument('--workers', default='4', help='processes that run all tests')
    options = parser.parse_args()
    all_tests = ('-n', options.workers, '--dist', 'worksteal', '--deselect', LEFT_OUT)
    rows = tomllib.loads(options.table.read_text())['mutant']
    mutants = [
        mutant
        for mutant in (Mutant(**row) for row in rows)
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    if not mutants:
        parser.error('no mutant has such a name')
    with tempfile.TemporaryDirectory(prefix='mutants-') as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(COPIES):
            copies.put(Copy(options.root.resolve(), Path(folder, str(number))))
        own_tests = {test for mutant in mutants for test in mutant.tests}
        copy = copies.get()
        failed = copy.failure(ALL_TESTS_S, *own_tests)
        copies.put(copy)
        if failed:
            print(f'{failed} fails without any mutant')
            return 1
        with ThreadPoolExecutor(COPIES) as pool:
            noticed = list(pool.map(lambda mutant: check(mutant, copies, all_tests), mutants))
    print(f'{sum(noticed)} of {len(noticed)} mutants are noticed')
    return 0 if all(noticed) else 1


if __name__ == '__main__':
    sys.exit(main())
