"""The command `thrift-client`: call, inspect and measure servers from a terminal.

Read in this order: app (the group), then a module of commands/; flags, texts, config, durations
for options; target, service, schema, arguments for what a call needs; results, output, safe for
what is printed; exits, hints, streams for failures; complete, interactive/ for what answers
while a user types. ui wraps click, and versions works without it.
"""

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
