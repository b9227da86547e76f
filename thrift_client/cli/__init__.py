"""The command `thrift-client`: call, inspect and measure servers from a terminal."""

from __future__ import annotations

import sys

from thrift_client.cli import streams

_EXTRA = frozenset({'click', 'prompt_toolkit', 'rich', 'rich_click', 'yaml'})


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    streams.prepare()
    if sys.argv[1:] == ['--version']:
        from thrift_client.cli import versions

        print(versions.summary())
        sys.exit(0)
    try:
        from thrift_client.cli.app import app
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition('.')[0] not in _EXTRA:
            raise
        sys.exit(f"{exc.name} is not installed: pip install 'thrift_client[cli]'")
    app(prog_name='thrift-client')
