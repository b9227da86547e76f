"""Print the source files that the first call of a HashClient runs through, in their order.

`python test/docs/cold_call.py`: one file per line, below the package's folder, without what
imports run.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test'), str(ROOT / 'test' / 'gen-py')]

import thrift_client  # noqa: E402 - found through the path above
from handlers import KeyValue  # noqa: E402
from test_if import test_service  # noqa: E402
from thrift_client.testing import serve  # noqa: E402

PACKAGE = Path(thrift_client.__file__).parent


def files_of(call) -> list[str]:
    """Return the package's files whose functions a call runs, each once."""
    found: dict[str, None] = {}

    def profile(frame, event, _argument):
        path = Path(frame.f_code.co_filename)
        if event == 'call' and PACKAGE in path.parents and frame.f_code.co_name != '<module>':
            found[path.relative_to(PACKAGE).as_posix()] = None

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(found)


def main() -> None:
    """Serve in threads, which aren't profiled, and make the call."""
    with (
        serve(test_service, KeyValue()) as server,
        thrift_client.HashClient(test_service, servers=[server.address]) as pool,
    ):
        print(*files_of(lambda: pool.setk('a', 'b').value()), sep='\n')


if __name__ == '__main__':
    main()
