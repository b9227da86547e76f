"""The group of all commands; each is imported when it is run or asked for its help."""

from __future__ import annotations

from importlib import import_module

import thrift_client
from thrift_client.cli.ui import Group, click

#: Command -> its module here and what it does, so that a list of them imports none.
COMMANDS = {
    'call': ('call', 'Call a method, on one server or on the one of a pool that the key chooses.'),
    'all': ('fan_out', 'Call a method on all servers at once.'),
    'list': ('describe', 'List services, or the methods of one.'),
    'describe': ('describe', 'Show the arguments, result and exceptions of methods.'),
    'route': ('route', 'Tell which server would serve a call, and why.'),
    'plan': ('plan', 'Tell which keys move when servers come or go.'),
    'probe': ('probe', 'Find out what a server speaks.'),
    'bench': ('bench', 'Measure calls a second and latency.'),
    'replay': ('replay', 'Send the requests of a log again.'),
    'stubs': ('stubs', 'Write types of a service for editors, mypy and pyright.'),
    'options': ('options', 'Show all client options as flags, variables and config keys.'),
    'demo': ('demo', 'See it work, against four servers on this machine.'),
    'completion': ('completion', 'Print the script that completes commands in a shell.'),
}


class App(Group):
    """A group that knows its commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if name not in COMMANDS:
            return None
        module = import_module(f'thrift_client.cli.{COMMANDS[name][0]}')
        command: click.Command = getattr(module, f'{name}_command')
        command.short_help = COMMANDS[name][1]
        return command


@click.group(
    cls=App,
    context_settings={'help_option_names': ['-h', '--help']},
    epilog='Exit codes: 0 ok, 1 the server answered with an exception, 2 usage, '
    '3 no connection, 4 time-out, 5 wire, 6 TLS.',
)
@click.version_option(thrift_client.__version__, message='%(version)s')
def app() -> None:
    """Call, question and measure Apache Thrift servers."""
