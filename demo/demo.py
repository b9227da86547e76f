"""The README's examples with four real servers: python demo/demo.py, in a clone."""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ('test', 'test/gen-py'))

import thrift_client
from servers import ServerProcess
from test_if import test_service

WORDS = ('apple', 'banana', 'cherry', 'date', 'elderberry', 'fig', 'grape')
VICTIM = 'server-3'
RAN = {False: 'did not run', True: 'may have run'}


def headline(number, text):
    """Begin a part of the demonstration."""
    print(f'\n{number}. {text}\n')


def row(left, right):
    """Print a step and its result."""
    print(f'   {left:<32}{right}')


def row_of(left, response):
    """Print the value in a response, or what went wrong."""
    error = response.exception
    if error is None:
        row(left, repr(response.value()))
    else:
        row(left, f'{type(error).__name__}, the call {RAN[error.maybe_executed]}:')
        row('', error.reason)


def start_servers(stack):
    """Start four servers, each a process of its own, that end with the stack."""
    headline(1, 'Four Thrift servers (Apache TThreadedServer), each a process with its own data')
    servers = {}
    for number in range(1, 5):
        name = f'server-{number}'
        server = servers[name] = stack.enter_context(ServerProcess())
        row(name, f'{server.address}, process {server.pid}')
    return servers


def call_one(server):
    """Call a single server through a SimpleClient."""
    headline(2, 'SimpleClient: one server, plain values')
    with thrift_client.SimpleClient(test_service, server.address) as client:
        row('client.ping()', repr(client.ping()))
        row("client.setk('orange', 'juice')", repr(client.setk('orange', 'juice')))
        row("client.getk('orange')", repr(client.getk('orange')))
        row('client.keys()', repr(client.keys()))


def spread_keys(pool):
    """Store words through the pool and show where each went."""
    headline(3, 'ThreadedHashClient: set_hash makes the word choose its server')
    print(f'   {"":<13}' + ''.join(f'{server.name:<11}' for server in pool) + 'getk() finds')
    pool.setk.set_hash(lambda key, _: key)
    pool.getk.set_hash(lambda key: key)
    for word in WORDS:
        stored = pool.setk(word, word.upper())
        stored.value()
        marks = ''.join(f'{"x" if server is stored.server else ".":<11}' for server in pool)
        found = pool.getk(word)
        print(f'   {word:<13}{marks}{found.value()} on {found.server.name}')
    print('\n   The same word goes to the same server in every process: run this again and see.')


def choose_one(pool):
    """Get one server from the pool and call it."""
    headline(4, 'get_server: one server of the pool, by its name')
    row("get_server('server-2').ping()", repr(pool.get_server('server-2').ping()))


def ask_all(pool):
    """Show what each server answers to a call to all."""
    responses = pool.all.keys()
    for response in responses:
        row_of(response.server.name, response)


def lose_one(pool, servers):
    """Kill a server and show which calls fail."""
    servers[VICTIM].kill()
    headline(6, f'{VICTIM} is killed: all.keys() still has an answer or an error from each')
    ask_all(pool)
    print('\n   Words on the other servers are still found, those on this one are not:\n')
    for word in ('banana', 'cherry'):
        response = pool.getk(word)
        row_of(f'getk({word!r}) on {response.server.name}', response)


def main():
    """Run all parts; the servers are stopped at the end."""
    with ExitStack() as stack:
        servers = start_servers(stack)
        call_one(servers['server-1'])
        pool = stack.enter_context(thrift_client.ThreadedHashClient(test_service))
        for name, server in servers.items():
            pool.add_server(server.address, name=name)
        spread_keys(pool)
        choose_one(pool)
        headline(5, 'all: one call to every server at once, a response from each')
        ask_all(pool)
        lose_one(pool, servers)
    print('\nThe servers are stopped. README.md has the code; `make test` runs all of it.')


if __name__ == '__main__':
    main()
