"""The interactive prompt of `shell`: history, completion, and JSON over several lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from thrift_client.cli import output, safe
from thrift_client.cli.interactive.session import ShellSession, is_complete
from thrift_client.cli.interactive.typing_ahead import candidates


class Prompt:
    """Reads lines from a terminal and runs them, until Ctrl-D or a command ends it."""

    def __init__(self, session: ShellSession) -> None:
        self._session = session
        self._prompt: PromptSession[str] = PromptSession(
            history=history(),
            completer=_Candidates(session),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation='... ',
            enable_open_in_editor=True,
        )

    def run(self) -> None:
        """Read and run line after line."""
        output.echo(f'{self._session.label}. \\help lists what a line may be.', error=True)
        while not self._session.over:
            try:
                line = self._prompt.prompt(f'{safe.line(self._session.label)}> ')
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            self._session.run(line)


class _Candidates(Completer):
    """Passes completions to prompt_toolkit."""

    def __init__(self, session: ShellSession) -> None:
        self._session = session

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
        """Return the completions at the cursor."""
        for each in candidates(self._session, document.text_before_cursor):
            yield Completion(each.text, -each.length, display_meta=each.meta)


class _PrivateHistory(FileHistory):
    """Doesn't keep lines that begin with a space, like shells."""

    def store_string(self, string: str) -> None:
        """Append a line to the file."""
        if not string.startswith(' '):
            super().store_string(string)


def history() -> History:
    """Return the lines of earlier shells, in a file that only its owner may read."""
    home = os.environ.get('XDG_STATE_HOME') or Path('~/.local/state').expanduser()
    path = Path(home, 'thrift-client', 'history')
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return _PrivateHistory(str(path))


def _keys() -> KeyBindings:
    """Have Enter run a line if its brackets are closed, and otherwise begin a new one."""
    bindings = KeyBindings()

    @bindings.add('enter')
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text('\n')

    return bindings
