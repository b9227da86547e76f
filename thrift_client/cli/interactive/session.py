r"""Runs the lines of a shell: a call, `all` and a call, or a command with a backslash."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from thrift.Thrift import TException

from thrift_client import ThriftPool, address
from thrift_client.cli import arguments, durations, flags, output, results
from thrift_client.cli.commands import call, describe, fan_out
from thrift_client.cli.exits import INTERRUPTED, OK, USAGE, code_of
from thrift_client.cli.target import Target, set_key
from thrift_client.cli.texts import is_duration
from thrift_client.cli.ui import click, command, nearest
from thrift_client.core.service import Method
from thrift_client.errors import server_label
from thrift_client.options import OPTIONS

#: Words that are typed in other shells.
_LEAVING = {'?', 'exit', 'help', 'quit'}

#: Options whose values must not be shown.
_SECRET = {'sasl', 'headers'}


class ShellSession:
    """Runs lines on one service, over a client or pool that is opened once.

    `over` becomes True when a line asked for the end.
    """

    def __init__(self, target: Target, key: str | None) -> None:
        self.target = target
        self.service = target.service
        self.over = False
        self.form = 'json'
        self.timing = False
        self._key = key
        self._caller: Any = None
        self._everyone: Any = None
        self._commands: dict[str, Callable[[list[str]], None]] = {
            'describe': self._describe,
            'format': self._format,
            'help': self._help,
            'list': self._list,
            'options': self._options,
            'quit': self._quit,
            'server': self._server,
            'timing': self._timing,
        }
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def commands(self) -> list[str]:
        """The commands that begin with a backslash."""
        return ['\\all', *(f'\\{name}' for name in self._commands)]

    @property
    def flags(self) -> list[str]:
        r"""The flags that \options takes."""
        return [row.flag for row in (*flags.client_rows(), *flags.tls_rows(), *flags.pool_rows())]

    @property
    def label(self) -> str:
        """The service and the server, or how many servers."""
        servers = self.target.servers
        if self.target.source is not None or len(servers) == 1:
            return f'{self.service.name} {servers[0].address}'
        return f'{self.service.name} {len(servers)} servers'

    def open(self) -> None:
        """Make the client or pool; connections are opened by the first call."""
        self._caller = self.target.caller()
        if self._key is None or not hasattr(self._caller, 'set_hash'):
            return
        names = {name.strip() for name in self._key.split(',')}
        methods = self.service.methods.values()
        keyed = [
            each for each in methods
            if all(arguments.parameter_named(each, name) for name in names)
        ]  # fmt: skip
        if not keyed:
            self.close()
            known = {name for each in methods for name in each.parameters}
            raise click.UsageError(
                f'--key: no method of {self.service.name} has {self._key!r}'
                f'{nearest(self._key, known)}'
            )
        for method in keyed:
            set_key(self._caller, method, self._key)

    def close(self) -> None:
        """Close all connections."""
        for each in (self._caller, self._everyone):
            if each is not None:
                each.close()
        self._caller = self._everyone = None

    def run(self, line: str) -> int:
        """Run one line; print its result or error, and return an exit code."""
        text = line.strip()
        if not text or text.startswith('#'):
            return OK
        try:
            return self._run(text)
        except click.exceptions.Exit as exc:  # --help among the flags of \options
            return exc.exit_code
        except click.ClickException as exc:
            output.print_error(exc.format_message())
            return exc.exit_code
        except TException as exc:
            output.print_error(results.error_text(exc))
            return code_of(exc)
        except ValueError as exc:
            output.print_error(str(exc))
            return USAGE
        except KeyboardInterrupt:
            output.echo('interrupted', error=True)
            return INTERRUPTED

    def _run(self, text: str) -> int:
        name, _, rest = text.partition(' ')
        rest = rest.strip()
        if name == '\\all' or (name == 'all' and 'all' not in self.service.methods):
            name, _, rest = rest.partition(' ')
            return self._all(arguments.find_method(self.service, name), rest.strip())
        if text.startswith('\\'):
            return self._command(name[1:], shlex.split(rest))
        if name in _LEAVING and name not in self.service.methods:
            raise click.UsageError('Ctrl-D ends the shell; \\help lists its commands')
        return self._call(arguments.find_method(self.service, name), rest)

    def _call(self, method: Method, rest: str) -> int:
        values = arguments.read(method, words_of(rest))
        outcome = results.call(self._caller, method.name, **values)
        if outcome.error is not None:
            output.print_error(results.error_text(outcome.error))
        else:
            call.show(method, outcome.value, self.form)
        if self.timing:
            call.print_server(outcome)
        return code_of(outcome.error)

    def _all(self, method: Method, rest: str) -> int:
        values = arguments.read(method, words_of(rest))
        if self._everyone is None:
            self._everyone = self.target.pool('ThreadedReplicatedClient')
        return fan_out.show(method, self._everyone.call(method.name, **values))

    def _command(self, name: str, words: list[str]) -> int:
        run = self._commands.get(name)
        if run is None:
            raise ValueError(f'unknown command \\{name}{nearest(name, self._commands)}')
        run(words)
        return OK

    def _help(self, _words: list[str]) -> None:
        output.print_table(('line', 'what it does'), _HELP)

    def _list(self, _words: list[str]) -> None:
        for method in self.service.methods.values():
            output.echo(describe.signature(method))

    def _describe(self, words: list[str]) -> None:
        for name in words or self.service.methods:
            for line in describe.text_of(self.service, name):
                output.echo(line)

    def _server(self, words: list[str]) -> None:
        if words:
            self._reopen({'server': tuple(words)})
        servers = self._caller.servers if isinstance(self._caller, ThriftPool) else [self._caller]
        if self.target.source is not None:
            so_far = '' if servers else ' has not named any yet'
            output.echo(f'{address.redacted(self.target.source)}{so_far}')
        for server in servers:
            output.echo(server_label(server))

    def _options(self, words: list[str]) -> None:
        if words:
            self._reopen(_parse_flags(words))
        options = self.target.options() | self.target.pool_options()
        for name, value in sorted(options.items()):
            output.echo(f'--{name.replace("_", "-")}  {_shown(name, value)}')
        if not options:
            output.echo('all options have their defaults; \\options --timeout 2s sets one')

    def _reopen(self, given: dict[str, Any]) -> None:
        """Use a target with other flags, if a client or pool can be created from it."""
        before = self.target
        self.target = before.changed(given)
        try:
            self.close()
            self.open()
        except click.UsageError:
            self.target = before
            self.open()
            raise

    def _timing(self, words: list[str]) -> None:
        self.timing = _one_of(words, ('on', 'off'), 'off' if self.timing else 'on') == 'on'
        output.echo(f'timing is {"on" if self.timing else "off"}', error=True)

    def _format(self, words: list[str]) -> None:
        self.form = _one_of(words, call.FORMATS, self.form)
        output.echo(f'format is {self.form}', error=True)

    def _quit(self, _words: list[str]) -> None:
        self.over = True


_HELP = (
    ('getk orange', 'call a method with words, in the order of its arguments'),
    ('getk {"key": "orange"}', 'call a method with JSON, over several lines if need be'),
    ('getk @request.json', 'call a method with the arguments in a file'),
    ('all getk orange', 'call a method on all servers; \\all where a method is called all'),
    ('\\list', 'show the methods'),
    ('\\describe [METHOD|TYPE]', 'show a method, struct or enum as the IDL declares it'),
    ('\\server [ADDRESS…]', 'show the servers, or use others'),
    ('\\options [FLAGS]', 'show the options that are set, or set some: --timeout 2s'),
    ('\\timing [on|off]', 'show which server answered, and the time'),
    ('\\format json|table|raw', 'choose how results are printed'),
    ('\\quit', 'leave; Ctrl-D does, too'),
)


def words_of(rest: str) -> list[str]:
    """Split the arguments of a line: one JSON text or file, or words with quotes."""
    if rest.startswith(('{', '[', '@')):
        return [rest]
    try:
        return shlex.split(rest)
    except ValueError as exc:
        raise ValueError(f'{rest}: {exc}') from None


def is_complete(text: str) -> bool:
    """Tell whether a line can be run: every bracket of its JSON is closed."""
    depth, quoted, escaped = 0, False, False
    for character in text.partition(' ')[2]:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == '\\' and not escaped
        elif character == '"':
            quoted = True
        else:
            depth += (character in '{[') - (character in '}]')
    return depth <= 0


def _shown(name: str, value: Any) -> str:
    if name in _SECRET:
        return '…'
    is_time = name in OPTIONS and is_duration(name) and value is not None
    return durations.shown(value) if is_time else str(value)


def _one_of(words: list[str], choices: tuple[str, ...], default: str) -> str:
    word = words[0] if words else default
    if word not in choices:
        raise ValueError(f'{word!r} is not one of {", ".join(choices)}')
    return word


def _parse_flags(words: list[str]) -> dict[str, Any]:
    """Return the options in flags as on the command line. A usage error for what is not one."""

    @command('\\options')
    @flags.client_options
    @flags.pool_options
    def parser(**_given: Any) -> None: ...

    for param in parser.params:
        param.envvar = None  # it was read at the start, and flags override it
    found = parser.make_context('\\options', list(words)).params
    return {name: value for name, value in found.items() if value not in (None, ())}
