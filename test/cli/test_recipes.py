"""The recipes for operators: every line is a command that is taken."""

import re
import shlex
from pathlib import Path

import pytest

import thrift_client.cli.app

PAGE = Path(__file__).parents[2] / 'docs' / 'howto' / 'command-line.md'
LINES = [
    shlex.split(re.split(r' (?:\||\|\||2?>) ', line)[0], comments=True)[1:]
    for line in re.findall(r'^.*?(thrift-client (?!completion).*)$', PAGE.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize('words', LINES, ids=' '.join)
def test_a_recipe_is_a_command_with_flags_that_exist(words, monkeypatch, tmp_path):
    """Click takes the flags, their values and the arguments; nothing is sent."""
    monkeypatch.chdir(tmp_path)
    for name in ('requests.log', 'keys.txt'):
        (tmp_path / name).touch()
    name, *arguments = words
    command = thrift_client.cli.app.app.get_command(None, name)
    with command.make_context(name, arguments) as context:
        assert context.params


def test_there_are_thirty_lines_to_copy():
    """The page has thirty recipes, which use each command for operators."""
    assert len(LINES) >= 30
    used = {words[0] for words in LINES}
    assert {'call', 'all', 'shell', 'list', 'describe', 'probe', 'bench', 'route'} <= used
    assert {'plan', 'replay', 'doctor'} <= used
