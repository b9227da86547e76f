"""Sub-interpreters, in which the C extension of `thrift` and threads crash the process."""

import os
import subprocess
import sys

import pytest

from servers import SEARCH_PATH

#: Has a sub-interpreter run the code in the last argument, in each way that there is.
RUN = """
import sys
try:
    import _interpreters as interpreters
    made = [interpreters.create('legacy'), interpreters.create('isolated')]
except ImportError:
    import _xxsubinterpreters as interpreters
    made = [interpreters.create(isolated=False), interpreters.create(isolated=True)]
if 'main first' in sys.argv:
    import thrift_client.sync.client
for each in made:
    interpreters.run_string(each, sys.argv[-1])
    interpreters.destroy(each)
print('done', flush=True)
"""
WITHIN = """
import sys
sys.path[:] = {path!r}
try:
    {statement}
except ImportError as exc:
    print(exc, flush=True)
"""


@pytest.mark.smoke
@pytest.mark.parametrize('main', ['main first', 'main never'])
@pytest.mark.parametrize(
    'statement',
    [
        'from thrift_client import SimpleClient',
        'from thrift_client import ThreadedHashClient',
        'from thrift_client.aio import AsyncSimpleClient',
        'from thrift_client.testing import serve',
    ],
)
def test_the_package_is_not_imported_there(statement, main):
    """The error says what to use, and neither interpreter crashes."""
    pytest.importorskip('_interpreters' if sys.version_info >= (3, 13) else '_xxsubinterpreters')
    path = [*map(str, SEARCH_PATH), *sys.path]
    done = subprocess.run(
        [sys.executable, '-c', RUN, main, WITHIN.format(path=path, statement=statement)],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert last == 'done'
    assert len(said) == 2
    assert all('cannot be used in a sub-interpreter' in each for each in said)
    assert all('use threads or processes' in each for each in said)
