"""`options`: every client option as a flag, a variable and a key of the config file."""

from __future__ import annotations

from thrift_client.cli import flags, output
from thrift_client.cli.ui import click

_TARGET = (
    flags.Row('service', None, 'the service: a gen-py module or a .thrift file'),
    flags.Row('gen_py', None, 'folders that `thrift --gen py` wrote'),
    flags.Row('server', None, 'the servers; in a variable with spaces between them'),
    flags.Row('config', None, 'the config file; not in itself'),
)


@click.command('options')
@click.option('--json', 'as_json', is_flag=True, help='Print a list of objects.')
@click.option('--markdown', is_flag=True, help='Print a table for documents.')
def options_command(as_json: bool, markdown: bool) -> None:
    """Show all client options as flags, environment variables and keys of the config file.

    A flag beats the variable, the variable the config file, that the default.
    """
    rows = [*_TARGET, *flags.client_rows(), *flags.tls_rows(), *flags.pool_rows()]
    if as_json:
        output.print_json([_object(row) for row in rows], plain=True)
        return
    lines = [(row.flag, row.variable, row.name, _default(row), row.text) for row in rows]
    columns = ('flag', 'variable', 'config key', 'default', 'meaning')
    if markdown:
        click.echo(_markdown(columns))
        click.echo(_markdown(('---',) * len(columns)))
        for flag, variable, key, default, text in lines:
            click.echo(_markdown((f'`{flag}`', f'`{variable}`', f'`{key}`', default, text)))
    else:
        output.print_table(columns, lines)


def _object(row: flags.Row) -> dict[str, str]:
    return {
        'flag': row.flag,
        'variable': row.variable,
        'key': row.name,
        'default': _default(row),
        'text': row.text,
    }


def _default(row: flags.Row) -> str:
    return '' if row.default is None else str(row.default)


def _markdown(cells: tuple[str, ...]) -> str:
    return f'| {" | ".join(cell.replace("|", "&#124;") for cell in cells)} |'
