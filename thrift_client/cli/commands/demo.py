"""`demo`: the steps of the README, against four servers in this process."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import thrift_client
from thrift_client import errors
from thrift_client.cli import results
from thrift_client.cli.ui import click, command
from thrift_client.response import ThriftResponse
from thrift_client.testing import Server

WORDS = ('apple', 'banana', 'cherry', 'date', 'elderberry', 'fig', 'grape', 'orange')
VICTIM = 'server-3'


class Store:
    """A server's handler: getk() returns what setk() has stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: dict[str, str] = {}

    def ping(self) -> str:
        """Answer with what the server's handler returns."""
        return 'pong'

    def setk(self, key: str, value: str) -> None:
        """Store a word."""
        with self._lock:
            self._words[key] = value

    def getk(self, key: str) -> str:
        """Return a word; an unknown one is an empty text."""
        with self._lock:
            return self._words.get(key, '')

    def keys(self) -> list[str]:
        """Return all words."""
        with self._lock:
            return sorted(self._words)


@command('demo')
def demo_command() -> None:
    """Demonstrate a client, a pool, keys, responses, and a server that fails."""
    module = thrift_client.load(Path(__file__).with_name('demo.thrift')).KeyValue
    with ExitStack() as stack:
        servers = _start_servers(stack, module)
        _call_one(module, servers['server-1'])
        pool = stack.enter_context(thrift_client.ThreadedHashClient(module))
        for name, server in servers.items():
            pool.add_server(server.address, name=name)
        _spread_keys(pool)
        _headline(4, 'get_server: one server of the pool, by its name')
        _row("get_server('server-2').ping()", repr(pool.get_server('server-2').call('ping')))
        _headline(5, 'all: one call to every server at once, a response from each')
        _ask_all(pool)
        servers[VICTIM].close()
        _lose_one(pool)
    click.echo('\nThe servers are stopped. The README has the code.')


def _headline(number: int, text: str) -> None:
    click.secho(f'\n{number}. {text}\n', bold=True)


def _row(left: str, right: str) -> None:
    click.echo(f'   {left:<31}{right}')


def _start_servers(stack: ExitStack, module: Any) -> dict[str, Server]:
    _headline(1, 'Four Thrift servers (Apache TThreadedServer), each with its own data')
    servers = {}
    for number in range(1, 5):
        server = stack.enter_context(Server(module, Store()))
        servers[f'server-{number}'] = server
        _row(f'server-{number}', server.address)
    return servers


def _call_one(module: Any, server: Server) -> None:
    _headline(2, 'SimpleClient: one server, plain values')
    with thrift_client.SimpleClient(module, server.address) as client:
        for name, *args in (('ping',), ('setk', 'lemon', 'tea'), ('getk', 'lemon')):
            shown = ', '.join(map(repr, args))
            _row(f'client.{name}({shown})', repr(client.call(name, *args)))


def _spread_keys(pool: Any) -> None:
    _headline(3, 'ThreadedHashClient with set_hash: the word chooses its server')
    pool.setk.set_hash(lambda key, _: key)
    names = ''.join(f'{server.name:<10}' for server in pool)
    click.echo(f'   {"":<12}{names}getk() finds')
    for word in WORDS:
        stored = pool.setk(word, word.upper())
        marks = ''.join(f'{"x" if server is stored.server else ".":<10}' for server in pool)
        found = pool.getk(word)
        click.echo(f'   {word:<12}{marks}{found.value()} on {found.server.name}')
    click.echo('\n   The same word goes to the same server in every process: run this again.')


def _ask_all(pool: Any) -> None:
    for response in pool.all.call('keys'):
        _row(response.server.name, _told(response))


def _lose_one(pool: Any) -> None:
    _headline(6, f'{VICTIM} has failed: all.keys() still returns an answer or an error from each')
    _ask_all(pool)
    click.echo('\n   Words on other servers are found; for the rest, the response says why not:\n')
    for word in ('banana', 'cherry'):
        response = pool.getk(word)
        _row(f'getk({word!r})', f'{_told(response)} ({response.server.name})')


def _told(response: ThriftResponse[Any]) -> str:
    error = response.exception
    if error is None:
        return repr(response.value())
    if isinstance(error, errors.ThriftClientError):
        return f'{type(error).__name__}: {error.reason}'
    return results.error_text(error)
