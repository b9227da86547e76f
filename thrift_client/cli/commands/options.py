"""`options`: every client option as a flag, a variable and a key of the config file."""

from __future__ import annotations

from textwrap import fill, indent

from thrift_client.cli import flags, output
from thrift_client.cli.ui import PANELS, TERMINAL, click, command, option

#: The minimum width for a readable table of all columns.
_WIDE = 140

_TARGET = (
    flags.Flag(
        'service', None, 'the service: FILE.thrift, FILE.thrift:SERVICE or a module', 'Call'
    ),
    flags.Flag('include', None, 'folders to find included .thrift files in', 'Call'),
    flags.Flag('gen_py', None, 'folders that `thrift --gen py` wrote', 'Call'),
    flags.Flag('server', None, 'the servers; in a variable with spaces between them', 'Call'),
    flags.Flag('config', None, 'the config file; not in itself', 'Call'),
)


@command('options')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print a list of objects')
@option('--markdown', is_flag=True, panel='Output', help='print a table for documents')
def options_command(as_json: bool, markdown: bool) -> None:
    """Show all client options as flags, environment variables and keys of the config file.

    A flag overrides the variable, the variable the config file, that the default.
    """
    rows = [*_TARGET, *flags.client_rows(), *flags.tls_rows(), *flags.pool_rows()]
    if as_json:
        output.print_json([_object(row) for row in rows], plain=True)
        return
    lines = [(row.flag, row.variable, row.name, row.default_text, row.text) for row in rows]
    columns = ('flag', 'variable', 'config key', 'default', 'meaning')
    if markdown:
        click.echo(_markdown(columns))
        click.echo(_markdown(('---',) * len(columns)))
        for flag, variable, key, default, text in lines:
            click.echo(_markdown((f'`{flag}`', f'`{variable}`', f'`{key}`', default, text)))
    elif TERMINAL and output.console().width < _WIDE:
        _print_blocks(rows)
    else:
        output.print_table(columns, lines)


def _object(row: flags.Flag) -> dict[str, str]:
    return {
        'flag': row.flag,
        'variable': row.variable,
        'key': row.name,
        'default': '' if row.default is None else str(row.default),
        'text': row.text,
    }


def _print_blocks(rows: list[flags.Flag]) -> None:
    """Print two lines for each option, for terminals that are too narrow for a table."""
    width, pad = output.console().width, ' ' * 6
    for panel in PANELS:
        output.echo(panel, bold=True)
        for row in rows:
            if row.panel == panel:
                default = f' [{row.default_text}]' if row.default_text else ''
                output.echo(f'  {row.flag}  ${row.variable}')
                text = fill(row.text + default, width - len(pad))
                output.echo(indent(text, pad))
    output.echo(fill('In the config file a flag is its name with _: --max-idle is max_idle', width))


def _markdown(cells: tuple[str, ...]) -> str:
    return f'| {" | ".join(cell.replace("|", "&#124;") for cell in cells)} |'
