"""`completion`: the script that makes a shell complete commands and flags."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from thrift_client.cli.ui import click


@click.command('completion')
@click.argument('shell', type=click.Choice(['bash', 'zsh', 'fish']))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL.

    bash and zsh: eval "$(thrift-client completion bash)" in ~/.bashrc or ~/.zshrc;
    fish: thrift-client completion fish > ~/.config/fish/completions/thrift-client.fish
    """
    made_by = get_completion_class(shell)
    assert made_by is not None
    root = ctx.find_root().command
    click.echo(made_by(root, {}, 'thrift-client', '_THRIFT_CLIENT_COMPLETE').source())
