"""The pools: each promise of their documentation."""

import copy
import inspect
import pickle
import re
import threading
import time
from pathlib import Path

import pytest

from handlers import KeyValue, Rich
from on_loop_pools import bare, single, waited
from rich_if import rich_service
from rich_if.ttypes import Refused
from test_if import test_service
from thrift_client import (
    HashClient,
    MultiClient,
    ReplicatedClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
    ThriftExceptionResponse,
    ThriftPool,
    ThriftResponse,
    deadline,
    errors,
    load,
)
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    first_bytes,
    hold,
    raise_declared,
    reply,
    silence,
)

HASH = [HashClient, ThreadedHashClient, AsyncHashClient]
REPLICATED = [ReplicatedClient, ThreadedReplicatedClient, AsyncReplicatedClient]
BLOCKING = [HashClient, ThreadedHashClient, ReplicatedClient, ThreadedReplicatedClient]
either_face = pytest.mark.parametrize('kind', [ThreadedHashClient, AsyncHashClient])
hash_pools = pytest.mark.parametrize('kind', HASH)
replicated_pools = pytest.mark.parametrize('kind', REPLICATED)
every_pool = pytest.mark.parametrize('kind', HASH + REPLICATED)
every_blocking_pool = pytest.mark.parametrize('kind', BLOCKING)
ADDRESSES = ['a:1', 'b:2', 'c:3', 'd:4']


def echo(args):
    """Answer with the key."""
    return args.key


# Servers and their names.


@every_pool
def test_servers_keep_the_order_in_which_they_were_added(kind, pool_of):
    """`servers` is a tuple; `len`, iteration and `in` agree with it."""
    pool = pool_of(ADDRESSES[:2], kind)
    third = pool.add_server('c', 3, name='third')
    assert [server.name for server in pool.servers] == ['a:1', 'b:2', 'third']
    assert isinstance(pool.servers, tuple)
    assert tuple(pool) == pool.servers
    assert len(pool) == 3
    assert third in pool
    assert 'third' in pool
    assert 'c:3' not in pool
    assert single(kind)(test_service, 'c:3', name='third') not in pool
    assert pool
    assert kind(test_service), 'an empty pool is one, too'


@either_face
def test_add_server_returns_the_client(kind, pool_of):
    """A client of one server with the pool's options, overridden by those given with the server."""
    pool = pool_of([], kind, timeout=500, frame=True, protocol='compact')
    server = pool.add_server('h:1')
    assert isinstance(server, single(kind))
    assert (server.timeout, server.frame, server.service) == (500, True, test_service)
    assert pool.add_server('h:2', timeout=7).timeout == 7
    assert pool.add_server('h:3', transport='buffered').frame is False
    assert pool.add_server(port=4).address == 'localhost:4'


@either_face
def test_add_server_overrides_frame(kind, pool_of):
    """`add_server` overrides `frame` in both directions, as any other option."""
    assert pool_of([], kind, frame=False).add_server('h:1', frame=True).frame is True
    assert pool_of([], kind, frame=True).add_server('h:1', frame=False).frame is False


@either_face
def test_add_server_takes_an_existing_client(kind, pool_of):
    """A client of the same service joins the pool unchanged, under its name."""
    client = single(kind)(test_service, 'h:1', name='mine', timeout=3)
    pool = pool_of(['h:2'], kind)
    assert pool.add_server(server=client) is client
    assert pool.get_server('mine') is client
    assert pool.servers[-1] is client
    with pytest.raises(ValueError, match='test_service'):
        pool.add_server(server=single(kind)(rich_service, 'h:3'))
    with pytest.raises(TypeError, match='server='):
        pool.add_server('h:4', server=single(kind)(test_service, 'h:4'))
    assert len(pool) == 2


@either_face
@pytest.mark.parametrize('service_name', ['theirs', None])
def test_add_server_refuses_a_view_for_another_service(kind, pool_of, service_name):
    """Calls of the pool would go to the service of the client, or to its own name for it."""
    view = single(kind)(rich_service, 'h:1', service_name='mine')
    view = view.for_service(test_service, service_name)
    pool = pool_of(['h:2'], kind)
    with pytest.raises(ValueError, match='for_service'):
        pool.add_server(server=view)
    named = single(kind)(test_service, 'h:1', service_name='mine')
    with pytest.raises(ValueError, match='for_service'):
        pool.add_server(server=named.for_service(test_service, service_name))
    assert pool.add_server(server=named.with_options(timeout=5)) is named


@either_face
@pytest.mark.parametrize('taken', [{'host': 'a:1'}, {'host': 'z:9', 'name': 'a:1'}, {'server': 0}])
def test_a_name_that_is_taken_leaves_the_pool_unchanged(kind, pool_of, taken):
    """A ValueError names it."""
    pool = pool_of(ADDRESSES, kind)
    before = pool.servers
    if 'server' in taken:
        taken = {'server': before[0]}
    with pytest.raises(ValueError, match='a:1'):
        pool.add_server(**taken)
    assert pool.servers == before


@either_face
@pytest.mark.parametrize('bad', ['', 'h:0', 'h:x', 'h:1:', '[::1', 'ftp://h'])
def test_a_bad_address_leaves_the_pool_unchanged(kind, pool_of, bad):
    """A ValueError quotes it, as SimpleClient's does."""
    pool = pool_of(ADDRESSES, kind)
    with pytest.raises(ValueError, match=re.escape(repr(bad))):
        pool.add_server(bad)
    assert len(pool) == 4


@either_face
@pytest.mark.parametrize(
    'weight', [0, -1, float('inf'), float('nan'), 1e308, 10**400], ids=range(6)
)
def test_a_weight_is_above_0_and_at_most_1e100(kind, pool_of, weight):
    """Anything else is a ValueError."""
    with pytest.raises(ValueError, match='weight'):
        pool_of([], kind).add_server('h:1', weight=weight)


@either_face
def test_http_servers_behind_one_address_have_paths(kind, pool_of):
    """An HTTP URL finds the server of its path alone; host and port find the first."""
    urls = ['http://h:80/a', 'http://h/b', 'http://h/']
    pool = pool_of(urls, kind)
    a, b, root = pool.servers
    assert [pool.get_server(host=url) for url in urls] == [a, b, root]
    assert pool.get_server(host='http://h') is root
    assert pool.get_server(host='h', port=80) is a
    with pytest.raises(errors.InvalidServerName):
        pool.get_server(host='http://h/c')
    assert pool.remove_server(host='http://h:80/b') is b
    assert pool.servers == (a, root)


@either_face
def test_get_server(kind, pool_of):
    """A server is found by name, by host and port, and by address."""
    pool = pool_of(['h:1'], kind)
    named = pool.add_server('h:2', name='second')
    assert pool.get_server('second') is pool.get_server(name='second') is named
    assert pool.get_server(host='h', port=2) is pool.get_server(host='h:2') is named
    assert pool.get_server(name='second', host='h', port=2) is named


@either_face
@pytest.mark.parametrize(
    'unknown',
    [{'name': 'seconds'}, {'host': 'h', 'port': 3}, {'host': 'h'}, {'name': 'second', 'host': 'x'}],
)
def test_an_unknown_server_is_an_invalid_server_name(kind, pool_of, unknown):
    """A KeyError from get_server and remove_server; the text has the nearest name."""
    pool = pool_of(['h:1'], kind)
    pool.add_server('h:2', name='second')
    for look in (pool.get_server, pool.remove_server):
        with pytest.raises(errors.InvalidServerName) as caught:
            look(**unknown)
        assert isinstance(caught.value, KeyError)
    if unknown == {'name': 'seconds'}:
        assert "'second'" in str(caught.value)
    assert len(pool) == 2


@either_face
def test_remove_server(kind, pool_of):
    """A server is removed by client, name or address; its client may be added again."""
    pool = pool_of(ADDRESSES, kind)
    a, b, c, d = pool.servers
    assert pool.remove_server(a) is a
    assert pool.remove_server(name='b:2') is b
    assert pool.remove_server(host='c', port=3) is c
    assert pool.servers == (d,)
    with pytest.raises(errors.InvalidServerName):
        pool.remove_server(a)
    pool.add_server(server=a)
    assert pool.servers == (d, a)


@either_face
def test_a_removed_servers_connections_are_closed(kind, fault_server, pool_of):
    """Idle ones at once, those of calls in flight when the calls are done."""
    gate = hold()
    server = fault_server(test_service, [reply('idle'), gate + reply('in flight')])
    pool = pool_of([server.address], kind)
    client = pool.servers[0]
    assert pool.getk('a').value() == 'idle'
    future = pool.submit('getk', 'b')
    gate.wait_reached(5000)
    pool.remove_server(client)
    gate.open()
    assert future.result(5).value() == 'in flight'
    server.wait_open(0, 5000)


@either_face
def test_random_server(kind, pool_of):
    """Any of them; none in an empty pool."""
    pool = pool_of(ADDRESSES, kind)
    assert {pool.random_server() for _ in range(200)} == set(pool.servers)
    with pytest.raises(errors.NoServersError):
        pool_of([], kind).random_server()


def test_multi_client_is_the_pools_base():
    """It is an alias; the base itself can't be created."""
    assert MultiClient is ThriftPool
    assert all(issubclass(kind, ThriftPool) for kind in BLOCKING)
    assert issubclass(ThreadedHashClient, HashClient)
    assert issubclass(ThreadedReplicatedClient, ReplicatedClient)
    with pytest.raises(TypeError, match='ThriftPool'):
        ThriftPool(test_service)


@every_pool
@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'servers': 'h:1'}, TypeError),
        ({'retries': 1}, TypeError),
        ({'timeout': 0}, ValueError),
        ({'max_threads': 0}, ValueError),
        ({'frame': True, 'transport': 'buffered'}, ValueError),
        ({'servers': ['h:1', 'h:1']}, ValueError),
    ],
)
def test_wrong_options_fail_in_the_constructor(kind, options, error):
    """Wrong options fail in the constructor, not at the first call."""
    with pytest.raises(error):
        kind(test_service, **options)


@either_face
@pytest.mark.parametrize(('routing', 'error'), [('modolo', ValueError), (7, TypeError)])
def test_a_wrong_routing_fails_in_the_constructor(kind, routing, error):
    """The error names the nearest routing."""
    with pytest.raises(error, match='modulo' if routing == 'modolo' else 'routing'):
        kind(test_service, routing=routing)


@every_pool
@pytest.mark.parametrize('service', [None, 'test_if.test_service', test_service.Client])
def test_what_is_not_a_service_is_a_type_error(kind, service):
    """A pool refuses what isn't a service, as SimpleClient does."""
    with pytest.raises(TypeError, match='thrift --gen py'):
        kind(service)


# Methods.


@every_pool
def test_methods_are_attributes_with_the_generated_signature(kind):
    """Inherited ones too."""
    pool = kind(rich_service)
    assert {'add', 'version', 'nested'} <= set(dir(pool))
    assert str(inspect.signature(pool.add)) == '(a, b)'
    assert pool.find.__doc__ == rich_service.Client.find.__doc__
    assert 'find' in repr(pool.find)


@every_pool
def test_mistakes_of_the_caller_raise(kind, fault_server, pool_of):
    """Unknown methods, wrong arguments, what can't be encoded: nothing is sent."""
    server = fault_server(test_service, reply('x'))
    pool = pool_of([server.address], kind)
    with pytest.raises(AttributeError, match='getk'):
        pool.gtk('a')
    for via in ('call', 'submit'):
        with pytest.raises(AttributeError, match='getk'):
            getattr(pool, via)('gtk', 'a')
        with pytest.raises(TypeError, match='argument'):
            getattr(pool, via)('getk')
    with pytest.raises(TypeError, match='argument'):
        pool.getk()
    if kind in HASH:
        pool.setk.set_hash(lambda key, value: key)
    with pytest.raises(errors.EncodeError):
        pool.setk('k', object())
    assert len(server.ledger) == 0


@every_pool
def test_an_empty_pool_raises_no_servers(kind, pool_of):
    """Calls and `server_for` raise NoServersError once their arguments are right."""
    pool = pool_of([], kind)
    with pytest.raises(errors.NoServersError) as caught:
        pool.getk('k')
    assert str(caught.value) == (
        'getk: the pool has no servers; the call did not run; add one with add_server()'
    )
    assert caught.value.maybe_executed is False
    if kind in HASH:
        with pytest.raises(errors.NoServersError):
            pool.server_for('getk', 'k')
    else:
        with pytest.raises(errors.NoServersError):
            list(pool.as_completed('getk', 'k'))


@every_pool
def test_hidden_methods_are_reached_through_call(kind, rich_server, pool_of):
    """`close`, `all`, `servers`, `name`: the pool's own attribute takes precedence."""
    pool = pool_of([rich_server.address], kind, rich_service)

    def one(response):
        return response[0].value() if kind in REPLICATED else response.value()

    assert one(pool.call('close', 'x')) == 'close x'
    assert one(pool.call('all')) == ['all']
    assert one(pool.call('servers')) == ['servers']
    assert one(pool.submit('call', 'x').result(5)) == 'call x'
    assert one(pool.call('arguments', method='m', server='s', name='n', timeout='t')) == 't m s n'
    assert len(pool.servers) == 1


# Hash pools: the key.


@hash_pools
@pytest.mark.smoke
def test_a_key_goes_to_its_server(kind, thrift_server, pool_of):
    """Written through the pool, found where `server_for` says, and nowhere else."""
    servers = [thrift_server(test_service, KeyValue()) for _ in range(4)]
    pool = pool_of([server.address for server in servers], kind)
    pool.setk.set_hash(lambda key, value: key)
    for number in range(40):
        assert pool.setk(f'key {number}', str(number)).value() is None
    for number in range(40):
        key = f'key {number}'
        response = pool.getk(key)
        assert (response.value(), response.server) == (str(number), pool.server_for('getk', key))
        assert waited(pool, response.server.getk(key)) == str(number)
    kept = [set(response.value()) for response in pool.all.call('keys')]
    assert all(kept)
    assert sum(map(len, kept)) == len(set.union(*kept)) == 40


@hash_pools
def test_set_hash_returns_the_pool(kind, pool_of):
    """`set_hash` returns the pool in both of its forms, so calls can be chained."""
    pool = pool_of([], kind)
    assert pool.set_hash('getk', str) is pool
    assert pool.getk.set_hash(str) is pool
    assert pool.set_hash('getk', str).setk.set_hash(lambda key, value: key) is pool
    with pytest.raises(AttributeError, match='getk'):
        pool.set_hash('gtk', str)
    with pytest.raises(TypeError, match='function'):
        pool.set_hash('getk', 'key')


@hash_pools
def test_the_key_function_gets_the_arguments_by_position(kind, rich_server, pool_of):
    """The key function gets arguments in IDL order, however the call was written."""
    seen = []
    pool = pool_of([rich_server.address], kind, rich_service)
    pool.arguments.set_hash(lambda *args, **kwargs: seen.append((args, kwargs)) or 1)
    pool.arguments('t', 'm', 's', 'n')
    pool.arguments(name='n', server='s', timeout='t', method='m')
    pool.call('arguments', 't', name='n', method='m', server='s')
    pool.submit('arguments', 't', name='n', method='m', server='s').result(5)
    pool.server_for('arguments', 't', 'm', name='n', server='s')
    pool.server_for('arguments', 't', name='n', server='s', method='m')
    assert seen == [(('t', 'm', 's', 'n'), {})] * 6


@hash_pools
@pytest.mark.parametrize('loaded', [False, True], ids=['gen-py', 'load'])
def test_a_key_function_changes_no_default(kind, loaded, rich_server, pool_of):
    """It may change what it gets: later calls, and other clients, have the IDL's default."""
    path = Path(__file__).parents[1] / 'rich.thrift'
    service = load(str(path)).rich_service if loaded else rich_service
    pool = pool_of([rich_server.address], kind, service)
    pool.set_hash('defaults', lambda text, times, color, more: more.pop())
    given = [7, 8]
    assert [pool.defaults('a', 2, 4).value() for _ in range(2)] == ['a 2 4 [1]'] * 2
    assert pool.defaults('a', 2, 4, given).value() == 'a 2 4 [7]'
    assert given == [7]
    other = pool_of([rich_server.address], kind, service)
    assert other.defaults('a', 2, 4).value() == 'a 2 4 [1, 2]'


@hash_pools
def test_the_default_key(kind, pool_of):
    """The only argument itself, else the tuple of all."""
    pool = pool_of(ADDRESSES, kind)
    keys = [f'k{number}' for number in range(50)]
    implicit = [pool.server_for('getk', key) for key in keys]
    both = [pool.server_for('setk', key, 'v') for key in keys]
    none = pool.server_for('keys')
    pool.set_hash('getk', lambda key: key)
    pool.set_hash('setk', lambda key, value: (key, value))
    pool.set_hash('keys', lambda: ())
    assert implicit == [pool.server_for('getk', key) for key in keys]
    assert both == [pool.server_for('setk', value='v', key=key) for key in keys]
    assert none is pool.server_for('keys')
    assert implicit != both
    assert set(implicit) == set(pool.servers)


@hash_pools
@pytest.mark.parametrize('number', [0, 5, -7, -(2**70)])
def test_an_int_key_is_taken_modulo(kind, pool_of, number):
    """An int key is placed by Python's modulo, which is never negative."""
    pool = pool_of(ADDRESSES, kind).set_hash('getk', lambda key: number)
    assert pool.server_for('getk', 'any') is pool.servers[number % 4]


@either_face
def test_a_bool_key_is_not_an_int(kind, pool_of):
    """True is not 1: it is placed by its hash."""
    pool = pool_of([f'h:{port}' for port in range(1, 65)], kind)
    pool.set_hash('getk', lambda key: True)
    assert pool.server_for('getk', 'any') is not pool.servers[1]


@hash_pools
def test_a_key_function_that_fails_raises(kind, fault_server, pool_of):
    """Its own exception, and a TypeError for a key that can't be hashed; nothing is sent."""
    server = fault_server(test_service, reply('x'))
    pool = pool_of([server.address], kind)
    pool.set_hash('getk', lambda key: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pool.getk('k')
    pool.set_hash('getk', lambda key: object())
    for use in (pool.getk, lambda key: pool.server_for('getk', key)):
        with pytest.raises(TypeError, match='set_hash'):
            use('k')
    assert server.accepted == 0


@hash_pools
def test_a_disabled_server_keeps_its_keys(kind, fault_server, pool_of):
    """Its calls fail until it is enabled again; no key moves."""
    servers = [fault_server(test_service, answer(echo)) for _ in range(4)]
    pool = pool_of([server.address for server in servers], kind)
    keys = [f'key {number}' for number in range(60)]
    before = [pool.server_for('getk', key) for key in keys]
    out = pool.servers[1]
    out.disable()
    assert [pool.server_for('getk', key) for key in keys] == before
    assert before.count(out)
    for key, server in zip(keys, before, strict=True):
        response = pool.getk(key)
        assert response.server is server
        assert isinstance(response.exception, errors.ClientDisabledError) is (server is out)
    out.enable()
    assert not any(
        isinstance(pool.getk(key).exception, errors.ClientDisabledError) for key in keys
    )


@either_face
def test_server_for_takes_arguments_as_the_method_does(kind, pool_of):
    """Wrong ones are a TypeError, an unknown method an AttributeError."""
    pool = pool_of(ADDRESSES, kind)
    with pytest.raises(TypeError, match='key'):
        pool.server_for('getk')
    with pytest.raises(AttributeError, match='getk'):
        pool.server_for('gtk', 'k')
    assert pool.server_for('getk', 'k') is pool.server_for('getk', key='k')


# Responses.


@pytest.mark.parametrize(
    ('behaviour', 'error'),
    [
        (application_exception(6, 'inside'), 'TApplicationException'),
        (close(), 'ConnectionLost'),
        (first_bytes(reply('x'), 5) + close(), 'ConnectionLost'),
        (silence(), 'CallTimeout'),
        (reply('x', seqid_by=1), 'ReplyMismatch'),
    ],
)
@every_pool
def test_what_the_server_did_is_in_the_response(kind, fault_server, pool_of, behaviour, error):
    """An error response, which carries the pool's own client; nothing is raised by the call."""
    server = fault_server(test_service, behaviour)
    pool = pool_of([server.address], kind, timeout=100 if error == 'CallTimeout' else 5000)
    response = pool.getk('k') if kind in HASH else pool.getk('k')[0]
    assert type(response.exception).__name__ == error
    assert response.is_error()
    assert isinstance(response, ThriftExceptionResponse)
    assert isinstance(response, ThriftResponse)
    assert response.server is response.exception.server is pool.servers[0]
    with pytest.raises(type(response.exception)) as caught:
        response.value()
    assert caught.value is response.exception
    assert server.address in repr(response)
    assert error in repr(response)


@every_pool
def test_a_refused_connect_is_in_the_response(kind, closing, pool_of):
    """ConnectError, of which nothing has run."""
    pool = pool_of([closing(ClosedPort()).address], kind)
    response = pool.getk('k') if kind in HASH else pool.getk('k')[0]
    assert isinstance(response.exception, errors.ConnectError)
    assert response.exception.maybe_executed is False
    assert response.exception.method == 'getk'


@every_pool
def test_a_declared_exception_is_in_the_response_untouched(kind, fault_server, pool_of):
    """No attribute is added, which would change its equality."""
    refused = Refused(1, 'no', [])
    server = fault_server(rich_service, raise_declared(refused))
    pool = pool_of([server.address], kind, rich_service)
    response = pool.check(1) if kind in HASH else pool.check(1)[0]
    assert response.exception == refused
    assert vars(response.exception) == vars(refused)


@either_face
def test_value_again_raises_the_same_without_growing(kind, fault_server, pool_of):
    """The same exception, with a traceback as long as the first time."""
    server = fault_server(test_service, application_exception(6, 'inside'))
    response = pool_of([server.address], kind).getk('k')

    def depth():
        try:
            response.value()
        except Exception as exc:  # noqa: BLE001 - any is told or returned
            length, frame = 0, exc.__traceback__
            while frame:
                length, frame = length + 1, frame.tb_next
            return exc, length
        raise AssertionError

    assert depth() == depth() == depth()


@every_pool
def test_a_value_is_in_the_response(kind, fault_server, pool_of):
    """`.value()`, `.server`, `.exception`, `.elapsed`, `.attempts`, and its repr."""
    server = fault_server(test_service, delay(20) + reply('the value'))
    pool = pool_of([server.address], kind)
    response = pool.getk('k') if kind in HASH else pool.getk('k')[0]
    assert (response.value(), response.is_error(), response.exception) == ('the value', False, None)
    assert response.server is pool.servers[0]
    assert response.attempts == 1
    assert 20 <= response.elapsed < 2000
    assert not isinstance(response, ThriftExceptionResponse)
    assert 'the value' in repr(response)
    assert server.address in repr(response)
    assert 'ms' in repr(response)


@every_pool
def test_a_response_has_headers(kind, fault_server, pool_of):
    """They are empty if the transport has none."""
    server = fault_server(test_service, reply('x'))
    pool = pool_of([server.address], kind)
    response = pool.getk('k') if kind in HASH else pool.getk('k')[0]
    assert not response.headers


# All servers.


@pytest.mark.parametrize(('kind', 'expected'), list(zip(HASH, REPLICATED, strict=True)))
def test_all_is_the_replicated_pool_over_the_same_clients(kind, expected, fault_server, pool_of):
    """Threaded for a threaded pool; it follows changes of the servers."""
    server = fault_server(test_service, answer(echo))
    pool = pool_of([server.address], kind)
    everyone = bare(pool.all)
    assert type(everyone).__name__ == expected.__name__
    assert isinstance(everyone, expected)
    assert isinstance(everyone, ThreadedReplicatedClient) is (kind is ThreadedHashClient)
    assert everyone.servers == pool.servers
    pool.getk('k')
    assert pool.all.getk('x')[0].value() == 'x'
    assert server.accepted == 1
    second = pool.add_server(server.address, name='second')
    assert [response.server for response in pool.all.getk('y')] == [pool.servers[0], second]
    pool.remove_server(second)
    assert len(pool.all.getk('z')) == 1


@replicated_pools
@pytest.mark.smoke
def test_responses_come_in_the_order_of_the_servers(kind, fault_server, pool_of):
    """Responses follow the servers' order, each with its own value or error."""
    gates = [hold() for _ in range(4)]
    servers = [fault_server(test_service, gate + reply(str(i))) for i, gate in enumerate(gates)]
    pool = pool_of([server.address for server in servers], kind, timeout=10_000)

    def open_backwards():
        for server, gate in reversed(list(zip(servers, gates, strict=True))):
            server.ledger.wait_for(1, 5000)
            gate.open()

    opener = threading.Thread(target=open_backwards)
    opener.start()
    responses = pool.getk('k')
    opener.join()
    assert [response.value() for response in responses] == ['0', '1', '2', '3']
    assert tuple(response.server for response in responses) == pool.servers


@pytest.mark.smoke
@replicated_pools
def test_partial_failure_is_normal(kind, fault_server, closing, pool_of):
    """Refused, closed, mismatched and right in one call; the right one stays connected."""
    right = fault_server(test_service, answer(echo))
    hangs_up = fault_server(test_service, close())
    forges = fault_server(test_service, reply('x', name='ping'))
    refuses = closing(ClosedPort())
    pool = pool_of([refuses.address, right.address, hangs_up.address, forges.address], kind)
    for key in ('a', 'b'):
        kinds = [type(response.exception).__name__ for response in pool.getk(key)]
        assert kinds == ['ConnectError', 'NoneType', 'ConnectionLost', 'ReplyMismatch']
    assert (right.accepted, forges.accepted) == (1, 2)


@replicated_pools
@pytest.mark.parametrize('framed', [False, True])
def test_no_server_delays_the_others(kind, fault_server, pool_of, framed):
    """A silent or dripping server fails at the deadline; the others have answered before."""
    right = fault_server(test_service, answer(echo), framed=framed)
    silent = fault_server(test_service, [reply('warm'), silence()], framed=framed)
    half = fault_server(
        test_service, [reply('warm'), first_bytes(reply('half'), 9) + silence()], framed=framed
    )
    pool = pool_of([silent.address, half.address, right.address], kind, frame=framed)
    assert not any(response.is_error() for response in pool.getk('warm'))
    came = []
    with deadline(150):
        came += [
            (response.server, response.exception, response.elapsed)
            for response in pool.as_completed('getk', 'k')
        ]
    assert came[0][0] is pool.servers[2]
    assert came[0][2] < 100
    assert [type(exception).__name__ for _, exception, _ in came[1:]] == ['CallTimeout'] * 2
    assert {server for server, _, _ in came[1:]} == set(pool.servers[:2])


@replicated_pools
def test_an_encode_error_sends_nothing_to_any_server(kind, fault_server, pool_of):
    """It is raised before the first request is sent."""
    servers = [fault_server(test_service, reply('x')) for _ in range(2)]
    pool = pool_of([server.address for server in servers], kind)
    pool.getk('warm')
    with pytest.raises(errors.EncodeError):
        pool.getk(7.5)
    assert [len(server.ledger) for server in servers] == [1, 1]
    assert [server.accepted for server in servers] == [1, 1]


@replicated_pools
def test_oneway_to_all(kind, thrift_server, pool_of):
    """A oneway call to all reads nothing; the connections serve the next call."""
    servers = [thrift_server(rich_service, Rich()) for _ in range(2)]
    pool = pool_of([server.address for server in servers], kind, rich_service)
    assert [response.value() for response in pool.fire('token')] == [None, None]
    assert [response.value() for response in pool.fired()] == [['token']] * 2


@replicated_pools
def test_servers_with_different_protocols_and_transports(kind, fault_server, pool_of):
    """Each server gets the request in its own protocol and transport."""
    ways = [(protocol, framed) for protocol in ('binary', 'compact') for framed in (False, True)]
    pool = pool_of([], kind)
    for number, (protocol, framed) in enumerate(ways):
        server = fault_server(test_service, reply(str(number)), protocol=protocol, framed=framed)
        pool.add_server(
            server.address, protocol=protocol, transport='framed' if framed else 'buffered'
        )
    for _ in range(2):
        assert [response.value() for response in pool.getk('k')] == ['0', '1', '2', '3']


@replicated_pools
def test_large_replies_and_requests(kind, two_rich_servers, pool_of):
    """Several megabytes to and from each server, in whatever pieces they arrive."""
    transport, addresses = two_rich_servers
    pool = pool_of(addresses, kind, rich_service, transport=transport)
    data = bytes(range(256)) * 20_000
    assert all(response.value() == data for response in pool.raw(data))
    assert all(len(response.value()) == 5000 for response in pool.structs(5000))
    assert all(len(response.value()) == 4_000_001 for response in pool.blob(4_000_001))


# Responses in the order of arrival.


@replicated_pools
def test_as_completed_yields_in_the_order_of_arrival(kind, fault_server, pool_of):
    """The response of the quick server before that of the slow one."""
    gate = hold()
    slow = fault_server(test_service, [reply('warm'), gate + reply('slow')])
    quick = fault_server(test_service, [reply('warm'), reply('quick')])
    pool = pool_of([slow.address, quick.address], kind)
    pool.getk('warm')
    responses = pool.as_completed('getk', key='k')
    assert next(responses).value() == 'quick'
    gate.open()
    assert next(responses).value() == 'slow'
    assert next(responses, None) is None


@replicated_pools
def test_as_completed_closed_early_leaves_no_connection(kind, fault_server, pool_of):
    """Missing responses are cancelled: the connection is closed, and the next call is right."""
    gate = hold()
    slow = fault_server(test_service, [gate + reply('late'), answer(echo)])
    quick = fault_server(test_service, answer(echo))
    pool = pool_of([quick.address, slow.address], kind)
    waited(pool, pool.servers[1].warm_up())  # a request that is still to be sent may never be
    responses = pool.as_completed('getk', 'k')
    assert next(responses).value() == 'k'
    slow.ledger.wait_for(1, 5000)
    responses.close()
    gate.open()
    slow.wait_open(0, 5000)
    quick.wait_open(1, 5000)
    assert [response.value() for response in pool.getk('next')] == ['next', 'next']


@pytest.mark.parametrize('kind', [ThreadedReplicatedClient, AsyncReplicatedClient])
def test_as_completed_closed_while_connecting(kind, black_hole, fault_server, pool_of):
    """A connect that is under way ends, or closes what it opened."""
    quick = fault_server(test_service, reply('x'))
    pool = pool_of([black_hole, quick.address], kind, timeout=200)
    responses = pool.as_completed('getk', 'k')
    assert next(responses).value() == 'x'
    responses.close()


@replicated_pools
def test_as_completed_is_checked_when_called(kind, pool_of):
    """EncodeError is raised when the call begins, on asyncio with the first response."""
    pool = pool_of(['h:1'], kind)
    with pytest.raises(TypeError, match='argument'):
        pool.as_completed('getk')
    with pytest.raises(AttributeError, match='getk'):
        pool.as_completed('gtk', 'k')
    begin = list if kind is AsyncReplicatedClient else iter
    with pytest.raises(errors.EncodeError):
        begin(pool.as_completed('getk', object()))


@pytest.mark.parametrize('kind', [ReplicatedClient, ThreadedReplicatedClient])
def test_as_completed_begins_when_called(kind, fault_server, pool_of):
    """The requests are sent before the first response is asked for."""
    server = fault_server(test_service, reply('x'))
    pool = pool_of([server.address], kind)
    pool.getk('warm')
    responses = pool.as_completed('getk', 'k')
    server.ledger.wait_for(2, 2000)
    assert [response.value() for response in responses] == ['x']


# Threads, deadlines, views, closing.


@every_pool
def test_submit_returns_a_future(kind, fault_server, pool_of):
    """The future has the call's result; many calls run in parallel."""
    gate = hold()
    server = fault_server(test_service, gate + answer(echo))
    pool = pool_of([server.address], kind)
    futures = [pool.submit('getk', key) for key in 'abc']
    server.ledger.wait_for(3, 5000)
    gate.open()
    results = [future.result(5) for future in futures]
    if kind in REPLICATED:
        results = [response for (response,) in results]
    assert [response.value() for response in results] == ['a', 'b', 'c']


@pytest.mark.parametrize('max_threads', [1, 2])
def test_submit_of_a_fan_out_needs_no_second_thread(fault_server, pool_of, max_threads):
    """Fan-outs don't wait for each other, even if they run in all threads of the pool."""
    servers = [fault_server(test_service, answer(echo)) for _ in range(3)]
    pool = pool_of(
        [server.address for server in servers], ThreadedReplicatedClient,
        max_threads=max_threads, timeout=2000,
    )  # fmt: skip
    futures = [pool.submit('getk', key) for key in 'abcd']
    values = [[response.value() for response in future.result(5)] for future in futures]
    assert values == [[key] * 3 for key in 'abcd']


@every_pool
def test_the_deadline_is_read_in_the_calling_thread(kind, fault_server, pool_of):
    """Calls, `submit` and the pool's threads get the deadline of the calling thread."""
    server = fault_server(test_service, silence())
    pool = pool_of([server.address], kind)
    began = time.monotonic()
    with deadline(60):
        response = pool.getk('k')
        future = pool.submit('getk', 'k')
    responses = [response, future.result(5)]
    for response in responses if kind in HASH else [r for (r,) in responses]:
        assert isinstance(response.exception, errors.CallTimeout)
    assert time.monotonic() - began < 1


@every_pool
def test_a_view_shares_servers_and_has_its_own_timeout(kind, fault_server, pool_of):
    """Responses name the pool's own client; the pool's timeout stays."""
    server = fault_server(test_service, [reply('x'), reply('x'), silence(), silence()])
    pool = pool_of([server.address], kind, timeout=20_000)
    view = pool.with_options(timeout=80)

    def call(pool):
        return pool.getk('k') if kind in HASH else pool.getk('k')[0]

    assert call(pool).value() == call(view).value() == 'x'
    assert server.accepted == 1
    began = time.monotonic()
    response = call(view)
    assert time.monotonic() - began < 1
    assert isinstance(response.exception, errors.CallTimeout)
    assert response.server is response.exception.server is pool.servers[0]
    added = view.add_server('h:1')
    assert pool.servers[-1] is added
    with pytest.raises(TypeError, match='protocol'):
        pool.with_options(protocol='compact')
    with pytest.raises(ValueError, match='timeout'):
        pool.with_options(timeout=-1)
    with view:
        view.close()
    pool.remove_server(pool.add_server('h:2'))  # it is open


@hash_pools
def test_a_view_routes_as_its_pool_does(kind, pool_of):
    """Hashes set before and after it was made hold for it."""
    pool = pool_of(ADDRESSES, kind).set_hash('getk', lambda key: 2)
    view = pool.with_options(timeout=5)
    assert view.server_for('getk', 'k') is pool.servers[2]
    pool.set_hash('getk', lambda key: 3)
    assert view.server_for('getk', 'k') is pool.servers[3]


@pytest.mark.parametrize(
    ('kind', 'all_was_used'),
    [(HashClient, True), (ThreadedHashClient, False), (AsyncHashClient, True)],
)
def test_a_views_all_has_the_views_timeout(kind, fault_server, pool_of, all_was_used):
    """Whether the pool's own `all` was used before or not, and the pool's keeps its own."""
    server = fault_server(test_service, lambda turn: delay(100) + reply('x'))
    pool = pool_of([server.address], kind)
    if all_was_used:
        assert pool.all.getk('k')[0].value() == 'x'
    (response,) = pool.with_options(timeout=50).all.getk('k')
    assert isinstance(response.exception, errors.CallTimeout)
    assert pool.all.getk('k')[0].value() == 'x'


@every_pool
def test_close_is_idempotent_and_closes_what_the_pool_made(kind, fault_server, pool_of):
    """Clients that it was given stay open; calls of the pool raise ClientClosed."""
    server = fault_server(test_service, reply('x'))
    pool = pool_of([server.address], kind)
    given = single(kind)(test_service, server.address, name='given')
    pool.add_server(server=given)
    waited(pool, given.ping())
    pool.getk('k')
    pool.submit('getk', 'k').result(5)
    pool.close()
    pool.close()
    assert waited(pool, given.ping()) == 'x'
    waited(pool, given.close())
    server.wait_open(0, 5000)
    for refused in (
        lambda: pool.getk('k'),
        lambda: pool.submit('getk', 'k').result(5),
        lambda: pool.add_server('h:1'),
    ):  # fmt: skip
        with pytest.raises(errors.ClientClosed):
            refused()
    with pytest.raises(errors.ClientClosed, match='getk: the pool is closed; the call did not run'):
        pool.getk('k')
    if kind in HASH:
        with pytest.raises(errors.ClientClosed):
            pool.all.getk('k')


@every_blocking_pool
def test_no_connection_or_thread_before_the_first_call_or_after_close(kind, fault_server):
    """Making a pool opens and starts nothing."""
    servers = [fault_server(test_service, reply('x')) for _ in range(3)]
    before = threading.active_count()
    pool = kind(test_service, servers=[server.address for server in servers])
    assert sum(server.accepted for server in servers) == 0
    assert threading.active_count() == before
    pool.getk('k')
    pool.submit('getk', 'k').result(5)
    pool.close()
    for server in servers:
        server.wait_open(0, 5000)  # leftover threads are checked after each test


def test_replicated_opens_no_thread(fault_server, pool_of):
    """ReplicatedClient works with the calling thread alone."""
    servers = [fault_server(test_service, reply('x')) for _ in range(3)]
    pool = pool_of([server.address for server in servers], ReplicatedClient)
    before = {thread for thread in threading.enumerate() if thread.name != 'fault-server'}
    pool.getk('k')
    after = {thread for thread in threading.enumerate() if thread.name != 'fault-server'}
    assert after == before


@every_pool
@pytest.mark.parametrize('duplicate', [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_cannot_be_copied_or_pickled(kind, duplicate):
    """A TypeError says why."""
    with pytest.raises(TypeError, match='connections'):
        duplicate(kind(test_service))


@every_pool
def test_looking_at_a_pool_makes_no_call(kind, fault_server):
    """repr, dir, len and the attributes that IPython probes."""
    server = fault_server(test_service, reply('x'))
    pool = kind(test_service, servers=[server.address])
    probes = ['_ipython_display_', '_repr_html_', '__html__', '__wrapped__', '_repr_mimebundle_']
    assert not [name for name in probes if hasattr(pool, name)]
    assert kind.__name__ in repr(pool)
    assert '1' in repr(pool)
    assert dir(pool)
    assert server.accepted == 0
