"""Print the way of a cold call, the first one of a new client, through the source files.

`python test/unit/cold_call.py hash` (or `all`, `asyncio`, `all of two`) prints a line for each
run of functions in one file, without what imports run: the file below the package's folder, and
the functions.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from inspect import CO_OPTIMIZED
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test'), str(ROOT / 'test' / 'gen-py')]

import thrift_client  # noqa: E402 - found through the path above
from handlers import KeyValue  # noqa: E402
from test_if import test_service  # noqa: E402
from thrift_client import HashClient, ReplicatedClient, aio  # noqa: E402
from thrift_client.testing import serve  # noqa: E402

PACKAGE = Path(thrift_client.__file__).parent
#: A pool and the number of its servers, by the name of the way.
WAYS = {
    'hash': (HashClient, 1),
    'all': (ReplicatedClient, 1),
    'asyncio': (aio.AsyncHashClient, 1),
    'all of two': (ReplicatedClient, 2),
}


class Way:
    """The runs of functions in one file each, while it is entered."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, list[str]]] = []

    def __enter__(self) -> Way:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)

    def _note(self, frame, event, _argument):
        code = frame.f_code
        path = Path(code.co_filename)
        # Modules and classes have no optimized code; comprehensions have a name in brackets.
        if event != 'call' or PACKAGE not in path.parents or not code.co_flags & CO_OPTIMIZED:
            return
        file = path.relative_to(PACKAGE).as_posix()
        if file.startswith('testing/') or code.co_name.startswith('<'):
            return
        if not self.runs or self.runs[-1][0] != file:
            self.runs.append((file, []))
        self.runs[-1][1].append(code.co_name)


async def call_on_loop(pool) -> Way:
    """Make the call of an asyncio pool."""
    async with pool:
        with Way() as way:
            await pool.setk('a', 'b')
        return way


def way_of(name: str) -> Way:
    """Serve in threads, which aren't profiled, and make the call."""
    kind, servers = WAYS[name]
    with ExitStack() as stack:
        running = [stack.enter_context(serve(test_service, KeyValue())) for _ in range(servers)]
        pool = kind(test_service, servers=[server.address for server in running])
        if name == 'asyncio':
            return asyncio.run(call_on_loop(pool))
        with pool, Way() as way:
            pool.setk('a', 'b')
        return way


if __name__ == '__main__':
    for file, functions in way_of(*sys.argv[1:]).runs:
        print(f'{file}: {", ".join(functions)}')
