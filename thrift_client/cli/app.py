"""The group of all commands; each is imported when it is run or asked for its help."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from thrift_client.cli import output, streams, versions
from thrift_client.cli.exits import EXCEPTION, INTERRUPTED, OK, USAGE
from thrift_client.cli.ui import Group, click, nearest

#: Command: its module and what it does, so that listing the commands imports none.
COMMANDS = {
    'call': ('call', 'Call a method, on one server or on the one of a pool that the key chooses.'),
    'all': ('fan_out', 'Call a method on all servers at once; --watch repeats it.'),
    'shell': ('shell', 'Call methods at a prompt, over connections that stay open.'),
    'list': ('describe', 'List services, or the methods of one.'),
    'describe': ('describe', 'Show methods, structs and enums as the IDL declares them.'),
    'probe': ('probe', "Detect a server's transport, protocol and TLS."),
    'bench': ('bench', 'Measure calls a second and latency.'),
    'route': ('route', 'Show which server would serve a call, and why.'),
    'plan': ('plan', 'Show which keys move when servers are added or removed.'),
    'replay': ('replay', 'Send the requests of a log again.'),
    'stubs': ('stubs', 'Write types of a service for editors, mypy and pyright.'),
    'options': ('options', 'Show all client options as flags, variables and config keys.'),
    'doctor': ('doctor', 'Show versions, extras, and what is missing or unsafe.'),
    'demo': ('demo', 'Demonstrate clients and pools with four servers on this machine.'),
    'completion': ('completion', 'Print the script that completes commands in a shell.'),
}
COMPLETE = '_THRIFT_CLIENT_COMPLETE'


class App(Group):
    """A group that knows its commands by name, and has one form for all errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return all names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if name not in COMMANDS:
            return None
        module = import_module(f'thrift_client.cli.commands.{COMMANDS[name][0]}')
        command: click.Command = getattr(module, f'{name}_command')
        command.short_help = COMMANDS[name][1]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        if args and args[0] not in COMMANDS and not args[0].startswith('-'):
            hint = '' if args[0] == 'help' else nearest(args[0], COMMANDS)
            hint = hint or '; --help lists them'
            ctx.fail(f'unknown command {args[0]!r}{hint}')
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command, and end the process with its exit code."""
        if COMPLETE in os.environ:
            import_module('thrift_client.cli.commands.completion')
        run = partial(super().main, *args, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_code(run))


def _code(run: Callable[[], Any]) -> int:
    """Run a command, print what ends it, and return the exit code."""
    try:
        code = run()
        sys.stdout.flush()
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as exc:
        _show(exc)
        return exc.exit_code
    except BrokenPipeError:  # the reader of the output has closed it
        streams.drop_output()
        return EXCEPTION
    except OSError as exc:
        if not streams.is_unwritable(exc):
            raise
        streams.drop_output()
        output.print_error(f'cannot write the output: {exc.strerror}')
        return USAGE
    return code if isinstance(code, int) else OK


def _show(exc: click.ClickException) -> None:
    if type(exc).__name__ == 'NoArgsIsHelpError':
        click.echo(exc.format_message(), err=True)
        return
    if isinstance(exc, click.UsageError) and exc.ctx is not None and not exc.ctx.parent:
        click.echo(f"Try '{exc.ctx.command_path} --help'.", err=True)
    text = exc.format_message()
    if isinstance(exc, click.BadParameter) and exc.ctx is not None and exc.param is not None:
        source = exc.ctx.get_parameter_source(exc.param.name or '')
        if source is click.core.ParameterSource.ENVIRONMENT:
            text = f'Invalid value for {exc.param.envvar}: {exc.message}'
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            text = f'Invalid value for {exc.param.name} in the config file: {exc.message}'
    if isinstance(exc, click.NoSuchOption) and exc.ctx is not None:
        if exc.ctx.parent is None:
            text += ' Options go after the command.'
        elif exc.option_name[1:2].isdigit():
            text += ' Put arguments that begin with - at the end, after --.'
    output.print_error(text)


def _show_versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(versions.summary())
        ctx.exit()


@click.group(
    cls=App,
    context_settings={'help_option_names': ['-h', '--help']},
    epilog='Exit codes: 0 ok, 1 the server answered with an exception, 2 usage, '
    '3 no connection, 4 timeout, 5 wire, 6 TLS, 130 Ctrl-C.',
)
@click.option(
    '--version', is_flag=True, is_eager=True, expose_value=False, callback=_show_versions,
    help='Show the versions that a bug report needs.',
)
def app() -> None:
    """Call, inspect and measure Apache Thrift servers."""
