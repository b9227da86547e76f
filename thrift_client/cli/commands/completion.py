"""`completion`: the script that makes a shell complete commands, flags and their values."""

from __future__ import annotations

import os

from click.shell_completion import (
    BashComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from thrift_client.cli.ui import click, command

#: bash splits words at `:` and `=`, which addresses and services contain. So the whole line is
#: passed, and of each answer only the part that is bash's current word is returned.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" cur response type value
    cur="${line##*[[:space:]]}"
    response=$(COMP_WORDS="$line" COMP_CWORD=-1 %(complete_var)s=bash_complete $1)
    COMPREPLY=()
    for response in $response; do
        IFS=',' read -r type value <<< "$response"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ $cur == *[:=]* ]] && value="${value#"${cur%%"${cur##*[:=]}"}"}"
                COMPREPLY+=("$value") ;;
        esac
    done
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/:] ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class LineComplete(BashComplete):
    """Completion for bash, which passes its line up to the cursor if COMP_CWORD is -1."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one that is being typed."""
        if os.environ['COMP_CWORD'] != '-1':
            return super().get_completion_args()
        line = os.environ['COMP_WORDS']
        words = split_arg_string(line)[1:]
        incomplete = '' if not words or line[-1].isspace() else words.pop()
        return words, incomplete


add_completion_class(LineComplete)


@command('completion')
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
