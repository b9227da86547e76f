"""`set_split`: a call over a collection is sent to each server once, with its share."""

import time
from collections import Counter
from contextlib import ExitStack

import pytest
import thriftpy2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers import Rich
from on_loop_pools import made, waited
from rich_if import rich_service
from rich_if.ttypes import Small
from test_if import test_service
from thrift_client import CircuitBreaker, HashClient, RetryPolicy, SimpleClient, errors, load
from thrift_client.aio import AsyncHashClient
from thrift_client.testing import BlackHole, ClosedPort, serve
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    reply,
    silence,
)

KINDS = [HashClient, AsyncHashClient]
each_kind = pytest.mark.parametrize('kind', KINDS)
#: Some methods of rich_service, for what doesn't read all of its IDL.
IDL = """
typedef list<i32> Ids
service some {
  map<i32, string> lookup(1: Ids ids),
  set<string> present(1: set<string> keys, 2: string prefix),
  i32 store(1: map<string, string> smalls),
  string echo(1: string s)
}
"""
SERVICES = {
    'gen-py': lambda path: rich_service,
    'loaded': lambda path: load(path).some,
    'thriftpy2': lambda path: thriftpy2.load(str(path), module_name='split_thrift').some,
}
IDS = st.lists(st.integers(-(2**31), 2**31 - 1), unique=True, max_size=20)
KEYS = st.sets(st.text(max_size=5), max_size=20)


@pytest.fixture(scope='module')
def rich_servers():
    """Run four servers; none keeps state, so that each could answer for all."""
    with ExitStack() as stack:
        yield [stack.enter_context(serve(rich_service, Rich())) for _ in range(4)]


@pytest.fixture(scope='module', params=KINDS)
def split(request, rich_servers):
    """Make a pool whose calls are split, and a client of one server to compare with."""
    addresses = [server.address for server in rich_servers]
    with (
        made(request.param, rich_service, servers=addresses, routing='rendezvous') as pool,
        SimpleClient(rich_service, addresses[0]) as one,
    ):
        pool.lookup.set_split('ids')
        pool.present.set_split('keys')
        pool.store.set_split('smalls')
        pool.texts.set_split('value')
        pool.tags.set_split('value')
        for server in (one, *pool):
            waited(pool, server.version())  # now the server has accepted the connection
        yield pool, one


#: A pool and a client are shared by the examples: nothing of one is left for the next.
examples = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@examples
@given(ids=IDS, keys=KEYS, prefix=st.text(max_size=1), texts=st.lists(st.text(max_size=5)))
def test_the_result_is_that_of_one_server(split, ids, keys, prefix, texts):
    """Split lists, sets and maps of any size give the result of one server."""
    pool, one = split
    assert pool.lookup(ids).value() == one.lookup(ids)
    assert pool.present(keys, prefix).value() == one.present(keys, prefix)
    assert pool.tags(keys).value() == one.tags(keys)
    assert pool.texts(texts).value() == one.texts(texts)
    smalls = {key: Small(1, key) for key in keys}
    assert pool.store(smalls=smalls).value() == one.store(smalls)


@each_kind
def test_each_server_gets_its_share_once(kind, fault_server, pool_of):
    """The keys that belong to it, and the other arguments unchanged."""
    got = []

    def present(args):
        got.append((frozenset(args.keys), args.prefix))
        return args.keys

    servers = [fault_server(rich_service, answer(present)) for _ in range(4)]
    pool = pool_of(kind, [server.address for server in servers], rich_service)
    pool.present.set_split('keys')
    keys = {f'k{i}' for i in range(50)}
    response = pool.present(keys, prefix='p')
    assert response.value() == keys
    assert [len(server.ledger) for server in servers] == [1, 1, 1, 1]
    assert {prefix for _, prefix in got} == {'p'}
    assert Counter(key for share, _ in got for key in share) == Counter(keys)
    pool.find.set_hash(lambda key, refuse: key)
    for share in response.shares:
        assert {pool.server_for('find', key, False) for key in share.keys} == {share.server}
    assert [share.server for share in response.shares] == list(pool.servers)


@each_kind
def test_set_hash_says_which_key_an_element_has(kind, fault_server, pool_of):
    """The function is called with the element in the argument's place."""
    servers = [fault_server(rich_service, answer(lambda args: args.value)) for _ in range(2)]
    pool = pool_of(kind, [server.address for server in servers], rich_service)
    pool.texts.set_split('value').texts.set_hash(len)
    response = pool.texts(['a', 'bb', 'ccc', 'dddd'])
    assert response.value() == ['a', 'bb', 'ccc', 'dddd']
    assert [share.keys for share in response.shares] == [['bb', 'dddd'], ['a', 'ccc']]


@each_kind
@pytest.mark.parametrize('nothing', [[], None])
def test_nothing_is_asked_of_one_server(kind, nothing, fault_server, pool_of):
    """The first server answers, so that the result has its type."""
    servers = [fault_server(rich_service, answer(lambda args: ['said'])) for _ in range(3)]
    pool = pool_of(kind, [server.address for server in servers], rich_service)
    pool.texts.set_split('value')
    response = pool.texts(nothing)
    assert (response.value(), response.server) == (['said'], pool.servers[0])
    assert sum(len(server.ledger) for server in servers) == 1


@each_kind
@pytest.mark.parametrize('ending', ['dead', 'silent', 'refused'])
def test_a_failed_share_names_its_keys(kind, ending, fault_server, closing, pool_of):
    """Response and error text name the keys of a failed share; other shares have values."""
    good = fault_server(rich_service, answer(lambda args: args.value))
    bad = {
        'dead': lambda: closing(ClosedPort()),
        'silent': lambda: fault_server(rich_service, silence()),
        'refused': lambda: fault_server(rich_service, application_exception(6, 'no')),
    }[ending]()
    pool = pool_of(kind, [good.address, bad.address], rich_service, timeout=200)
    pool.texts.set_split('value').texts.set_hash(len)
    response = pool.texts(['a', 'bb', 'ccc', 'dddd'])
    assert response.is_error()
    assert response.keys == ['a', 'ccc']
    assert response.server is pool.servers[1]
    with pytest.raises(Exception, match='no' if ending == 'refused' else "'a', 'ccc'"):
        response.value()
    assert [share.response.is_error() for share in response.shares] == [False, True]
    assert response.shares[0].response.value() == ['bb', 'dddd']
    # The other server ran its share, whatever became of this one.
    assert response.exception.maybe_executed is True
    assert response.exception.server is pool.servers[1]
    assert response.shares[1].response.exception.maybe_executed is (ending != 'dead')


@each_kind
def test_failover_moves_a_share(kind, fault_server, closing, pool_of):
    """The keys of a server that can't be reached are sent to the next server of each key."""
    good = [fault_server(rich_service, answer(lambda args: args.value)) for _ in range(2)]
    addresses = [closing(ClosedPort()).address, *(server.address for server in good)]
    pool = pool_of(kind, addresses, rich_service, failover=1, max_idle=0)
    pool.texts.set_split('value').texts.set_hash(len)
    texts = ['', 'a', 'bb', 'ccc', 'dddd', 'eeeee', 'ffffff']
    assert pool.texts(texts).value() == texts
    good[0].close()
    moved = pool.texts(texts)
    assert moved.is_error()
    assert set(moved.keys) == {'', 'ccc', 'ffffff'}


@each_kind
def test_shares_that_move_on_have_no_other_timeout(kind, closing, fault_server, pool_of):
    """A moved share has what is left of the call's time; without any it stays where it failed."""
    holes = [closing(BlackHole()).address for _ in range(2)]
    silent = fault_server(rich_service, silence()).address
    for addresses, options in ((holes, {}), ([holes[0], silent], {'connect_timeout': 300})):
        pool = pool_of(kind, addresses, rich_service, failover=1, timeout=400, **options)
        pool.texts.set_split('value').texts.set_hash(lambda _: 0)
        began = time.monotonic()
        response = pool.texts(['a'])
        assert time.monotonic() - began < 0.65
        assert isinstance(response.exception, errors.CallTimeout)
        assert response.server is pool.servers[bool(options)]


@each_kind
def test_with_no_server_left_a_share_fails(kind, closing, pool_of):
    """The call ends with the error of the connect."""
    addresses = [closing(ClosedPort()).address for _ in range(3)]
    pool = pool_of(kind, addresses, rich_service, failover=2)
    pool.texts.set_split('value')
    response = pool.texts(['a', 'b', 'c'])
    assert isinstance(response.exception, errors.ConnectError)
    assert sorted(response.keys) == ['a', 'b', 'c']
    assert response.exception.maybe_executed is False


@each_kind
def test_wrong_splits_are_errors(kind, pool_of):
    """An unknown argument, an invalid merge, an argument that can't be split."""
    pool = pool_of(kind, ['localhost:1'], rich_service)
    with pytest.raises(ValueError, match='ids'):
        pool.lookup.set_split('id')
    with pytest.raises(TypeError, match='merge'):
        pool.lookup.set_split('ids', merge=3)
    pool.lookup.set_split('ids', merge=lambda values: values)
    with pytest.raises(TypeError, match='ids'):
        pool.lookup('abc')


@each_kind
def test_other_methods_are_called_as_before(kind, fault_server, pool_of):
    """A split concerns its method alone."""
    pool = pool_of(kind, [fault_server(test_service, reply('pong')).address])
    assert pool.ping.set_hash(lambda: 1) is pool
    assert pool.ping().value() == 'pong'


@each_kind
@pytest.mark.parametrize('how', ['disabled', 'ejected', 'dead'])
def test_any_server_answers_for_nothing(kind, how, fault_server, closing, pool_of):
    """An empty argument has no key that belongs to a server: the first that is available."""
    first = fault_server(rich_service, close()).address
    if how == 'dead':
        first = closing(ClosedPort()).address
    good = fault_server(rich_service, answer(lambda args: args.value))
    breaker = CircuitBreaker(failures=1, eject=60_000)
    pool = pool_of(
        kind, [first, good.address], rich_service, failover=1, circuit_breaker=breaker,
        retry=RetryPolicy(attempts=1),
    )  # fmt: skip
    pool.texts.set_split('value').texts.set_hash(len)
    if how == 'disabled':
        pool.servers[0].disable()
    elif how == 'ejected':
        assert pool.texts(['aa']).is_error()
        assert pool.servers[0].stats().ejected
    response = pool.texts([])
    assert (response.value(), response.server) == ([], pool.servers[1])
    assert pool.texts(['aa', 'b']).value() == ['aa', 'b']


@each_kind
def test_a_split_method_has_no_key_of_its_own(kind, rich_servers, pool_of):
    """What needs the key of a whole call says so; the key function gets elements alone."""
    pool = pool_of(kind, [server.address for server in rich_servers], rich_service)
    pool.present.set_split('keys').present.set_hash(lambda key, prefix: key.upper())
    call = {'a', 'b'}, 'p'
    for asked in (
        lambda: list(pool.present.map([call])),
        lambda: pool.present.on_replicas(*call),
        lambda: pool.server_for('present', *call),
        lambda: pool.servers_for('present', *call),
        lambda: pool.explain('present', *call),
    ):
        with pytest.raises(ValueError, match='split by keys'):
            asked()
    assert pool.present(*call).value() == set()
    assert pool.server_for('tags', {'a'}) in pool


@each_kind
@pytest.mark.parametrize('service', SERVICES)
def test_an_argument_that_is_not_a_collection(kind, service, tmp_path, pool_of):
    """It is refused when the split is set: each call would fail otherwise."""
    path = tmp_path / 'some.thrift'
    path.write_text(IDL)
    pool = pool_of(kind, ['localhost:1'], SERVICES[service](path))
    for argument in ('prefix', 'pre'):
        with pytest.raises((TypeError, ValueError), match=argument):
            pool.present.set_split(argument)
    with pytest.raises(TypeError, match='list, set or map'):
        pool.echo.set_split('s')
    for method, argument in (('present', 'keys'), ('lookup', 'ids'), ('store', 'smalls')):
        assert getattr(pool, method).set_split(argument) is pool
