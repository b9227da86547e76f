"""What a user of the typed public API reads and calls, for a type checker to say what it is.

Each line of `EXPRESSIONS` is one or more expressions, separated by two spaces.
"""

import inspect
import re
from types import ModuleType

import thrift_client
from thrift_client import aio, convert, discovery, errors, events, observe, routing, testing
from thrift_client.testing import behaviours, malformed, toxics

BEGIN = """\
import thrift_client
from rich_if import rich_service, ttypes
from test_if import test_service
from thrift_client import aio, convert, discovery, errors, events, observe, routing, stats, testing
from thrift_client.routing import explain

client = thrift_client.SimpleClient(test_service, 'localhost', 9901)
pool = thrift_client.HashClient(test_service, failover=1, replicas=2, routing='maglev')
threaded = thrift_client.ThreadedHashClient(test_service)
every = thrift_client.ReplicatedClient(test_service)
threads = thrift_client.ThreadedReplicatedClient(test_service)
best = thrift_client.BalancedClient(rich_service, balance=routing.First())
on_loop = aio.AsyncSimpleClient(test_service)
keyed = aio.AsyncHashClient(test_service, failover=1, routing=routing.Jump())
all_on_loop = aio.AsyncReplicatedClient(test_service)
best_on_loop = aio.AsyncBalancedClient(rich_service, balance='first')
thing = ttypes.Everything()


async def read(
    error: errors.ThriftClientError, http: errors.HttpStatusError, late: errors.CallTimeout,
    refused: errors.ConnectError, lost: errors.ConnectionLost, idl: errors.IdlError,
    failure: thrift_client.ThriftExceptionResponse[str], limit: thrift_client.deadline,
    retry: thrift_client.RetryPolicy, breaker: thrift_client.CircuitBreaker,
    hedge: thrift_client.Hedge, transport: thrift_client.ApacheTransport,
    router: routing.Router, table: routing.Table, load: routing.Load, plan: explain.Plan,
    source: discovery.Source, member: discovery.Member, entry: discovery.Registration,
    reader: discovery.Reader, reading: discovery.Reading, change: discovery.Change,
    watch: discovery.Watch, listener: discovery.Listener,
    server: testing.Server, faulty: testing.FaultServer, ledger: testing.Ledger,
    proxy: testing.ToxicProxy, clock: testing.FakeClock,
    started: events.CallStarted, finished: events.CallFinished, failed: events.AttemptFailed,
    planned: events.RetryPlanned, opened: events.ConnectionOpened,
    discarded: events.ConnectionDiscarded, reused: events.ConnectionReused,
    ejected: events.ServerEjected, checked: events.ServerChecked,
    one: stats.ClientStats, sums: stats.PoolStats,
) -> None:
"""  # fmt: skip

EXPRESSIONS = """\
client.service  client.host  client.port  client.frame  client.timeout  client.name
client.address  client.is_enabled()  client.stats()  client.pinned()  client.pinned().getk('k')
client.for_service(rich_service)  client.for_service(rich_service).mirror(thing)
client.with_options(timeout=5)  client.getk('k')  client.keys()  client.__enter__()
client.call('getk', 'k')  client.call('keys')  client.submit('getk', key='k')
client.submit('getk', 'k').result()
pool.service  pool.servers  pool.servers[0]  pool.add_server('h')  pool.remove_server(name='h')
pool.follow('file:x')  pool.get_server('h')  pool.random_server()  pool.with_options(timeout=3)
pool.stats()  list(pool)  pool.__enter__()  pool.set_hash('getk', lambda key: key)
pool.call('getk', 'k')  pool.submit('getk', 'k')  pool.submit('getk', 'k').result().value()
pool.server_for('getk', 'k')  pool.servers_for('getk', 'k')  pool.all  pool.all.getk('k')
pool.explain('getk', 'k')  pool.explain('getk', 'k').server  pool.explain('getk', 'k').replicas
pool.explain('getk', 'k').key  pool.explain('getk', 'k').hash  pool.plan(keys=['k'])
plan.share  plan.moves  plan.moves[0].key  plan.moves[0].source  plan.paths  plan.before
pool.getk  pool.getk('k')  pool.getk.set_hash(lambda key: key)  pool.getk.set_split('key')
pool.getk.map(['a'])  next(pool.getk.map(['a'])).value()  pool.getk.on_replicas('k')
pool.setk.map([('a', 'b')])
threaded.all  threaded.getk('k')  threaded.getk.map('ab')  threaded.server_for('getk', 'k')
every.getk('k')  every.getk('k')[0].value()  every.as_completed('getk', 'k')  threads.getk('k')
next(every.as_completed('getk', 'k')).value()  every.with_options(wait_for=2)
best.mirror(thing).value()  best.pinned()  best.pinned().mirror(thing)  best.remove_server(name='h')
on_loop.service  on_loop.getk('k')  await on_loop.getk('k')  await on_loop.call('getk', 'k')
on_loop.submit('getk', 'k')  await on_loop.submit('getk', 'k')  on_loop.pinned()  on_loop.stats()
on_loop.for_service(rich_service)  await on_loop.for_service(rich_service).mirror(thing)
await keyed.getk('k')  await keyed.all.getk('k')  keyed.servers[0]  keyed.add_server('h')
keyed.server_for('getk', 'k')  keyed.servers_for('getk', 'k')  await keyed.call('getk', 'k')
keyed.submit('getk', 'k')  keyed.getk.map(['a'])  await keyed.getk.on_replicas('k')
keyed.explain('getk', 'k').server  keyed.get_server('h')  keyed.random_server()  list(keyed)
await all_on_loop.getk('k')  all_on_loop.as_completed('getk', 'k')  all_on_loop.servers[0]
await best_on_loop.mirror(thing)  best_on_loop.pinned()  best_on_loop.add_server('h')
failure.value()  failure.server  failure.exception  failure.elapsed  failure.attempts
failure.headers  failure.is_error()
error.server  error.method  error.attempts  error.elapsed  error.phase  error.reason  error.hint
error.maybe_executed  error.message  http.status  http.body  http.retry_after  late.limit
refused.errno  lost.reused  idl.file  idl.line
retry.replace(attempts=2)  retry.attempts  retry.attempt_timeout  retry.retry_on  breaker.failures
breaker.rate  breaker.window  breaker.check_every  breaker.replace(failures=2)  hedge.after
hedge.percentile  hedge.most  hedge.replace(after=1)
thrift_client.deadline(5)  limit.remaining()  limit.__enter__()  thrift_client.load('x')
transport.isOpen()  transport.read(1)  transport.readAll(1)  transport.host  transport.port
transport.name  transport.__enter__()
convert.from_dict(ttypes.Everything, {})  convert.to_json(thing)  convert.equal(1, 1)
convert.from_json(ttypes.Everything, '{}')
router.table(('a',), (1.0,))  table.index('k')  table.ranked('k', 2)  load.start()  load.ewma
load.stamp  load.in_flight  load.losses  load.lost_at  load.weight  routing.key_hash('k')
routing.canonical_bytes('k')  routing.router('maglev')  routing.balancer('p2c')
discovery.source('file:x')  source.watch(listener)  source.ordered  discovery.diff((), ())
discovery.register('file:x', 'h:1')  entry.wait()  member.host  member.port  member.name
member.address  member.weight  member.server_hostname  discovery.Member.of('h')  reader.read()
reading.members  reading.again  reading.broken  change.added  change.removed  change.changed
testing.serve(test_service, object())  server.address  faulty.address  faulty.port
faulty.accepted  faulty.ledger  ledger.count('k')  ledger.executions  proxy.open_connections
clock.slept  testing.per_connection([])
started.server  started.server.name  started.method  finished.elapsed  finished.attempts
finished.error  failed.attempt  failed.error  planned.pause  opened.elapsed  discarded.reason
reused.calls  ejected.until  checked.healthy  checked.error  checked.elapsed
one.name  one.calls  one.errors  one.ejected  sums.servers  sums.calls
observe.EventLog()  observe.Metrics()  observe.Telemetry().headers()
"""


def program() -> str:
    """Return a program that reveals each of them."""
    return _revealing([text for line in EXPRESSIONS.splitlines() for text in line.split('  ')])


def _revealing(expressions: list[str]) -> str:
    return BEGIN + ''.join(f'    reveal_type({text})\n' for text in expressions)


#: The modules whose functions and classes users call.
MODULES = (
    *(thrift_client, aio, convert, discovery, errors, events, observe, routing, testing),
    *(behaviours, malformed, toxics),
)
#: The clients in `BEGIN`, which have the types of a stub, and their classes.
CLIENTS = {
    'client': thrift_client.SimpleClient,
    'pool': thrift_client.HashClient,
    'threaded': thrift_client.ThreadedHashClient,
    'every': thrift_client.ReplicatedClient,
    'threads': thrift_client.ThreadedReplicatedClient,
    'best': thrift_client.BalancedClient,
    'on_loop': aio.AsyncSimpleClient,
    'keyed': aio.AsyncHashClient,
    'all_on_loop': aio.AsyncReplicatedClient,
    'best_on_loop': aio.AsyncBalancedClient,
}


def program_of_calls() -> str:
    """Return a program that reveals everything public that can be called."""
    found = []
    for module in MODULES:
        home = module.__name__
        for name in _public(module):
            found.append(f'{home}.{name}')
            kind = getattr(module, name)
            if inspect.isclass(kind):
                found += [f'{home}.{name}.{method}' for method in _methods(kind)]
    for name, kind in CLIENTS.items():
        found += [f'{name}.{method}' for method in _methods(kind)]
    for pool in ('pool', 'threaded', 'keyed'):
        found += [f'{pool}.getk.{name}' for name in ('map', 'on_replicas', 'set_hash', 'set_split')]
    imports = ''.join(f'import {module.__name__}\n' for module in MODULES)
    return imports + _revealing(found)


def _public(module: ModuleType) -> list[str]:
    """Return the names of what can be called in a module: those in `__all__`, or its own."""
    own = [name for name, value in vars(module).items() if _home(value) == module.__name__]
    names = getattr(module, '__all__', None) or [n for n in own if not n.startswith('_')]
    return [name for name in names if callable(getattr(module, name))]


def _home(value: object) -> str | None:
    return getattr(value, '__module__', None)


def _methods(kind: type) -> list[str]:
    """Return the names of a class's public methods, without those of other libraries."""
    return [
        name
        for name, value in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith('_') and (_home(value) or '').startswith('thrift_client')
    ]


def parameters(revealed: str) -> str:
    """Return the parameters in the type of something that can be called.

    Left out is what it returns, and what functions of the caller are given: they say
    themselves what they expect.
    """
    text, depth = '', 0
    for char in revealed.removeprefix('Overload('):
        depth -= char == ')'
        text += char if depth > 0 else ' '
        depth += char == '('
    return re.sub(r'\bdef \([^()]*\)', 'def ()', text)
