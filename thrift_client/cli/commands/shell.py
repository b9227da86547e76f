"""`shell`: calls at a prompt, over connections that stay open, or from a pipe of commands."""

from __future__ import annotations

import sys
from typing import Any

from thrift_client.cli import complete
from thrift_client.cli.interactive.session import ShellSession
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, option


@command('shell')
@with_target('service', 'servers', 'client', 'pool')
@option(
    '--key', metavar='ARGUMENT,…', panel='Server pool', shell_complete=complete.key_arguments,
    help='the arguments that are the key, of every method that has them',
)
@click.pass_context
def shell_command(ctx: click.Context, target: Target, key: str | None) -> None:
    r"""Call methods at a prompt, with history and completion.

    A line is a call: getk orange, or getk {"key": "orange"}, or all getk orange for all
    servers. \help lists the commands of the prompt. Ctrl-C ends the call, Ctrl-D the shell.

    From a pipe or a file, each line is a command; the exit code is that of the worst call.
    """
    with ShellSession(target, key) as session:
        if sys.stdin.isatty() and sys.stdout.isatty():
            from thrift_client.cli.interactive.prompt import Prompt

            Prompt(session).run()
        else:
            ctx.exit(_read_lines(session, sys.stdin))


def _read_lines(session: ShellSession, lines: Any) -> int:
    r"""Run a command a line until the end or a \quit; returns the worst exit code."""
    worst = 0
    for line in lines:
        worst = max(worst, session.run(line))
        sys.stdout.flush()
        if session.over:
            break
    return worst
