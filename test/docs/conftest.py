"""The servers and files that the documentation's examples use, as `make how-to` provides them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from discovery.conftest import missing
from discovery.helpers import ZOOKEEPER_JAR
from docs.blocks import DOCS, ROOT
from systems_own import lock_file

#: Pages name fixed ports: whoever uses them holds this file's lock, in any worktree.
LOCK = Path(tempfile.gettempdir(), f'thrift_client-how-to-{getattr(os, "getuid", int)()}.lock')


def load_how_to():
    """Load docs/how_to.py, which is a script."""
    spec = importlib.util.spec_from_file_location('how_to', DOCS / 'how_to.py')
    module = sys.modules['how_to'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def how_to():
    """The module docs/how_to.py."""
    return load_how_to()


@pytest.fixture
def ports():
    """Hold the fixed ports that pages name."""
    with LOCK.open('w') as lock:
        lock_file(lock)
        yield


@pytest.fixture
def servers(how_to, ports, tmp_path, monkeypatch):
    """Start what a page's text needs, on the ports that it names, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def start(text: str) -> list[str]:
            if how_to.ZOOKEEPER in how_to.needs_of(text)[0] and not Path(ZOOKEEPER_JAR).exists():
                missing('ZooKeeper', 'zookeeper')
            return stack.enter_context(how_to.started(text, tmp_path))

        yield start


@pytest.fixture(scope='module')
def built(made_once):
    """Build all pages, with warnings as errors, as `make docs` does."""

    def build(folder):
        done = subprocess.run(
            [
                *(sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q'),
                *('-b', 'html', DOCS, folder),
            ],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {'LC_ALL': 'C'},  # Sphinx doesn't begin in one that isn't installed
            check=False,
            timeout=150,
        )
        assert (done.returncode, done.stderr) == (0, '')

    out = made_once('html', build)
    return {path.relative_to(out).as_posix(): path for path in out.rglob('*.html')}
