"""The errors: what they are, what they carry, and that a call raises nothing else."""

import ast
import copy
import pickle
import re
from functools import partial

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TException
from thrift.transport.TTransport import (
    TBufferedTransportFactory,
    TFramedTransport,
    TTransportException,
)

from rich_if import rich_service
from rich_if.ttypes import Refused
from test_if import test_service
from thrift_client import (
    ApacheTransport,
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedHashClient,
    deadline,
    discovery,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import BlackHole, ClosedPort
from thrift_client.testing.behaviours import (
    application_exception,
    close,
    first_bytes,
    raise_declared,
    raw,
    reply,
    reset,
    reset_after_reading,
    silence,
)
from thrift_client.testing.malformed import GARBAGE, frame_length

T, P = TTransportException, TProtocolException
POOLS = [
    HashClient, ReplicatedClient, BalancedClient,
    AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
]  # fmt: skip

#: Name: (what it also is, `.type`).
TREE = {
    'ConnectError': ((errors.ThriftClientError, T, ConnectionError), T.NOT_OPEN),
    'ResolveError': ((errors.ConnectError,), T.NOT_OPEN),
    'TLSError': ((errors.ConnectError,), T.NOT_OPEN),
    'CertificateError': ((errors.TLSError,), T.NOT_OPEN),
    'AuthError': ((errors.ConnectError,), T.NOT_OPEN),
    'CallTimeout': ((errors.ThriftClientError, T, TimeoutError), T.TIMED_OUT),
    'PoolExhausted': ((errors.CallTimeout,), T.TIMED_OUT),
    'ConnectionLost': ((errors.ThriftClientError, T, ConnectionError), T.END_OF_FILE),
    'HttpStatusError': ((errors.ThriftClientError, T), T.UNKNOWN),
    'EncodeError': ((errors.ThriftClientError, P, ValueError), P.INVALID_DATA),
    'DecodeError': ((errors.ThriftClientError, P), P.INVALID_DATA),
    'ReplyMismatch': ((errors.ThriftClientError, P), None),
    'WireMismatch': ((errors.ThriftClientError, T), None),
    'MessageTooLarge': ((errors.ThriftClientError, T), T.SIZE_LIMIT),
    'CircuitOpen': ((errors.ThriftClientError, T), T.NOT_OPEN),
    'NoServersError': ((errors.ThriftClientError, T), T.NOT_OPEN),
    'InvalidServerName': ((errors.ThriftClientError, KeyError), None),
    'ClientDisabledError': ((errors.ThriftClientError,), None),
    'ClientClosed': ((errors.ThriftClientError,), None),
}
every_error = pytest.mark.parametrize('name', TREE)


def filled(name):
    """Make an error with everything that one can carry."""
    error = getattr(errors, name)('the reason', phase='sending', hint='try it', maybe_executed=True)
    error.server = SimpleClient(test_service, 'h:1', name='kv')
    error.method, error.attempts, error.elapsed = 'getk', 2, 12.0
    return error


def test_the_tree_is_complete():
    """Every error of the module is in the table, and the other way round."""
    not_of_calls = {'IdlError'}
    assert {*TREE, 'ThriftClientError'} == set(errors.__all__) - not_of_calls


@pytest.mark.smoke
@every_error
def test_an_error_is_what_the_contract_says(name):
    """Its bases, and the `.type` and `.message` of Apache's exceptions."""
    bases, type_ = TREE[name]
    error = filled(name)
    assert all(isinstance(error, base) for base in bases)
    assert isinstance(error, errors.ThriftClientError)
    assert isinstance(error, Exception)
    if type_ is not None:
        assert error.type == type_
    assert error.message == str(error)


@every_error
def test_an_error_tells_all_it_knows(name):
    """Reason, server, method, phase, time, attempt, whether it ran, and what to try."""
    text = str(filled(name))
    for part in ('the reason', 'kv', 'h:1', 'getk', 'sending', '12 ms', '2', 'may have run',
                 'try it'):
        assert part in text


@every_error
@pytest.mark.parametrize('duplicate', [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_an_error_pickles(name, duplicate):
    """A pickled error keeps all it carries; its server is the server's name."""
    error = filled(name)
    got = duplicate(error)
    assert type(got) is type(error)
    assert (got.server, got.method, got.attempts) == ('kv', 'getk', 2)
    assert (got.maybe_executed, got.phase, got.hint) == (True, 'sending', 'try it')
    assert (got.reason, got.args, got.type) == (error.reason, error.args, error.type)
    assert 'the reason' in str(got)


@pytest.mark.parametrize('duplicate', [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_the_hint_of_a_pickled_error_names_the_address(duplicate, fault_server):
    """The name, which is left of its server, is nothing to connect to."""
    server = fault_server(test_service, close())
    with (
        SimpleClient(test_service, server.address, name='shard-1') as client,
        pytest.raises(errors.ConnectionLost) as caught,
    ):
        client.getk('k')
    for error in (caught.value, duplicate(caught.value)):
        assert f'run thrift-client probe {server.address}' in str(error)


@every_error
def test_a_new_error_carries_nothing(name):
    """What has not been said is None; where nothing is known, the class says whether it ran."""
    error = getattr(errors, name)('x')
    assert (error.server, error.method, error.attempts) == (None, None, 0)
    did_not_run = {
        'ConnectError', 'ResolveError', 'TLSError', 'CertificateError', 'EncodeError',
        'CircuitOpen', 'NoServersError', 'PoolExhausted', 'InvalidServerName', 'ClientClosed',
        'ClientDisabledError',
    }  # fmt: skip
    assert error.maybe_executed is (name not in did_not_run)
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_every_error_has_a_docstring_and_the_modules_name():
    """They are shown as `thrift_client.errors.…`."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert kind.__doc__
        assert kind.__module__ == 'thrift_client.errors'


# What the caller probably meant.


@pytest.mark.parametrize('kind', [SimpleClient, ReplicatedClient])
@pytest.mark.parametrize(
    ('options', 'meant'),
    [
        ({'retries': 3}, 'retry=RetryPolicy(attempts=3)'),
        ({'framed': True}, "frame=True or transport='framed'"),
        ({'tls': True}, 'ssl=True'),
        ({'password': 'secret'}, "sasl={'mechanism': 'PLAIN', 'username': …, 'password': …}"),
        ({'retry': 3}, 'retry=RetryPolicy(attempts=3)'),
        ({'sasl': {'user': 'me', 'password': 'secret'}}, "'username'"),
        ({'sasl': {'mechanism': 'PLAIN', 'passwd': 'secret'}}, "'password'"),
        ({'retry': None}, 'retry=RetryPolicy(attempts=1)'),
        ({'hedge': 50}, 'hedge=Hedge(after=50)'),
        ({'circuit_breaker': True}, 'circuit_breaker=CircuitBreaker()'),
        ({'idempotent': 'getk'}, "idempotent=['getk']"),
    ],
)
def test_a_wrong_option_names_the_right_spelling(kind, options, meant):
    """The text names this library's spelling or the policy, and never a password."""
    with pytest.raises(TypeError, match=re.escape(f'; did you mean {meant}?')) as caught:
        kind(test_service, **options)
    assert 'secret' not in str(caught.value)


def test_a_view_and_a_url_name_only_what_they_take():
    """`with_options` has no transport, and a URL no policy."""
    client = SimpleClient(test_service)
    with pytest.raises(TypeError, match=r'mean retry=RetryPolicy\(attempts=3\)\?'):
        client.with_options(retries=3)
    with pytest.raises(TypeError, match=r"hedge, not 'framed'$"):
        client.with_options(framed=True)
    with pytest.raises(ValueError, match=r"did you mean 'frame'\?"):
        SimpleClient(test_service, 'thrift://h?framed=1')
    with pytest.raises(ValueError, match=r"'retries' in a URL$"):
        SimpleClient(test_service, 'thrift://h?retries=1')


@pytest.mark.parametrize(
    ('key', 'meant'),
    [('tls', 'ssl'), ('read_timeout', 'timeout'), ('pool_size', 'max_connections')],
)
def test_a_key_of_a_url_names_the_right_one(key, meant):
    """In a URL as in Python, a name from another library is answered with this library's."""
    for use in (partial(SimpleClient, test_service), HashClient(test_service).add_server):
        with pytest.raises(ValueError, match=f'{key!r} in a URL; did you mean {meant!r}\\?$'):
            use(f'thrift://h:1?{key}=1')


@pytest.mark.parametrize(
    ('options', 'meant'),
    [
        ({'framed': True}, "frame=True or transport='framed'"),
        ({'tls': True}, 'ssl=True'),
        ({'read_timeout': 5}, 'timeout=5'),
        ({'transprt': 'framed'}, "'transport'"),
    ],
)
def test_an_apache_transport_names_the_right_spelling(options, meant):
    """So does the transport for Apache's clients."""
    with pytest.raises(TypeError, match=re.escape(f'; did you mean {meant}?')):
        ApacheTransport('h:1', **options)


@pytest.mark.parametrize('kind', POOLS)
@pytest.mark.parametrize(
    ('server', 'hint'),
    [
        (0, ''),
        (True, ''),
        (b'h:1', ''),
        (['h:1'], ''),
        (test_service, ''),
        ('h:1', r": use remove_server\(name='h:1'\)"),
        (('h', 1), r": use remove_server\(host='h', port=1\)"),
        ('thrift://u:secret@h:1', r": use remove_server\(name='thrift://h:1'\)"),
    ],
)
def test_a_pool_removes_only_a_client(kind, server, hint):
    """Anything else is named, without credentials, and the pool is unchanged."""
    pool = kind(test_service, servers=['h:1'])
    with pytest.raises(TypeError, match=f'^server must be of class .*{hint}$') as caught:
        pool.remove_server(server)
    assert 'secret' not in str(caught.value)
    assert 'h:1' in pool


@pytest.mark.parametrize('kind', POOLS)
@pytest.mark.parametrize(
    ('servers', 'meant'),
    [
        ('zk:/a:1/b', "'zk://a:1/b'"),
        ('dns:kv:9090', "'dns://kv:9090'"),
        ('zk:2181', "['zk:2181']"),
        ('dns:1,dns2:1', "['dns:1', 'dns2:1']"),
        (('h', 1), "['h:1']"),
    ],
)
def test_what_is_meant_by_servers_is_accepted(kind, servers, meant):
    """A source without slashes, a host named like a kind of source, a pair as sockets take it."""
    with pytest.raises(TypeError, match=re.escape(f'; did you mean servers={meant}?')):
        kind(test_service, servers=servers)
    if not meant.startswith("'"):
        assert len(kind(test_service, servers=ast.literal_eval(meant)))
    else:
        assert discovery.source(ast.literal_eval(meant))


@pytest.mark.parametrize(
    ('servers', 'meant'),
    [('h:1', "['h:1']"), ('h:1, h:2', "['h:1', 'h:2']")],
)
def test_servers_are_a_list(servers, meant):
    """A string for `servers` is refused by name and by position, which is that of `frame`."""
    match = re.escape(f'; did you mean servers={meant}?')
    with pytest.raises(TypeError, match=match):
        ReplicatedClient(test_service, servers=servers)
    for frame in (servers, servers.split(', ')):
        with pytest.raises(TypeError, match=match):
            ReplicatedClient(test_service, frame)
    with pytest.raises(TypeError, match="frame must be True or False, not 'h:1'"):
        SimpleClient(test_service, 'h', 1, 'h:1')


@pytest.mark.parametrize('kind', POOLS)
def test_servers_have_an_order(kind):
    """A set is refused, because it has another order in each process; any iterable is a list."""
    for servers in ({'a:1', 'b:2'}, frozenset(('a:1',))):
        with pytest.raises(TypeError, match=r'not a set.*use sorted\(servers\)'):
            kind(test_service, servers=servers)
    names = ['b:2', 'a:1', 'c:3']
    for given in (names, tuple(names), iter(names), dict.fromkeys(names).keys()):
        assert [server.name for server in kind(test_service, servers=given).servers] == names
    for wrong in ({'a:1': 2}, b'a:1', 5):
        with pytest.raises(TypeError, match='a source is a URL'):
            kind(test_service, servers=wrong)


def test_the_list_of_a_source_has_an_order():
    """A function that returns a set, and a fixed list that is one, are refused."""
    with pytest.raises(ValueError, match='servers must be a list, not set'):
        discovery.StaticSource({'a:1', 'b:2'})
    pool = ReplicatedClient(
        test_service, servers=discovery.CallableSource(lambda: {'a:1'}), timeout=1000
    )
    with pool, pytest.raises(errors.NoServersError, match='servers must be a list, not set'):
        pool.ping()


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient, *POOLS])
@pytest.mark.parametrize(
    ('name', 'error', 'says'),
    [(5, TypeError, 'name must be a str, not 5'), ('', ValueError, 'name must not be empty')],
)
def test_a_servers_name_is_a_text(kind, name, error, says):
    """The name of a client, or of a pool's server, is None or has at least one character."""
    add = kind(test_service).add_server if kind in POOLS else partial(kind, test_service)
    with pytest.raises(error, match=says):
        add('a:1', name=name)
    assert add('a:1', name='one').name == 'one'


def test_a_value_names_its_unit_and_its_type():
    """A duration is in ms; a port is an int; a server is removed by its name."""
    with pytest.raises(ValueError, match='timeout must be above 0 ms, or None for no limit, not 0'):
        SimpleClient(test_service, timeout=0)
    with pytest.raises(TypeError, match=r"a number of ms \(5000 is 5 s\), not '5s'"):
        SimpleClient(test_service, timeout='5s')
    with pytest.raises(TypeError, match=r"an int, not '9090'; did you mean 9090\?"):
        SimpleClient(test_service, 'h', '9090')
    pool = ReplicatedClient(test_service, servers=['h:1'])
    with pytest.raises(TypeError, match=r"use remove_server\(name='h:1'\)"):
        pool.remove_server('h:1')


@pytest.mark.parametrize('behaviour', [reply('x'), close()])
def test_a_response_is_not_its_value(fault_server, behaviour):
    """An attribute or an item that it doesn't have is probably the value's; it is always true."""
    server = fault_server(test_service, behaviour)
    with ThreadedHashClient(test_service, servers=[server.address]) as pool:
        response = pool.getk('k')
    with pytest.raises(AttributeError, match=r"no attribute 'upper': call \.value\(\)"):
        response.upper  # noqa: B018
    assert copy.copy(response).attempts == 1
    items = (lambda given: given[0], lambda given: given['k'], lambda given: 'k' in given)
    for use in (len, iter, list, *items):
        with pytest.raises(TypeError, match=r'a response .*: call \.value\(\)'):
            use(response)
    assert response


@pytest.mark.parametrize('kind', [HashClient, AsyncHashClient])
@pytest.mark.parametrize(
    ('behaviour', 'outcome'),
    [
        (reply('value'), 'value'),
        (application_exception(TApplicationException.INTERNAL_ERROR, 'no'), TApplicationException),
        (raise_declared(Refused(4, 'no')), Refused),
        (close(), errors.ConnectionLost),
    ],
)
def test_a_response_pickles(fault_server, pool_of, behaviour, outcome, kind):
    """A pickled response has the server's name and, if it failed, its exception."""
    server = fault_server(rich_service, behaviour)
    response = pool_of([server.address], kind, service=rich_service).find(key='k', refuse=True)
    again = pickle.loads(pickle.dumps(response))
    assert (type(again), repr(again)) == (type(response), repr(response))
    assert again.server == response.server.name
    assert (again.elapsed, again.attempts) == (response.elapsed, response.attempts)
    if isinstance(outcome, str):
        assert again.value() == outcome
        return
    with pytest.raises(outcome) as caught:
        again.value()
    assert str(caught.value) == str(response.exception)
    assert getattr(caught.value, 'server', again.server) == again.server


def test_an_argument_is_named_by_its_path():
    """The text has the path of the argument and no elapsed time."""
    client = SimpleClient(rich_service, 'h:1')
    with pytest.raises(errors.EncodeError) as caught:
        client.add(1, 'two')
    assert str(caught.value) == (
        'add on h:1: b must be int, not str (argument 2 of rich_service.add); the call did not run'
    )


def test_a_connection_that_never_worked_may_expect_another_transport(fault_server):
    """The hint is short, and names the command that finds out."""
    server = fault_server(test_service, close())
    for framed, others in ((False, "'framed' or "), (True, "'buffered' or ")):
        client = SimpleClient(test_service, server.address, frame=framed)
        with pytest.raises(errors.ConnectionLost) as caught:
            client.getk('k')
        client.close()
        text = str(caught.value)
        assert f'the call may have run; it may expect transport={others}' in text
        assert text.endswith(f': run thrift-client probe {server.address}')


# What calls raise.

#: What a server does: the error, and whether the call may have run.
OUTCOMES = {
    'timeout': (silence(), errors.CallTimeout, True),
    'closed': (close(), errors.ConnectionLost, True),
    'reset': (reset(), errors.ConnectionLost, True),
    'half a reply': (first_bytes(reply('x'), 9) + close(), errors.ConnectionLost, True),
    'mismatch': (reply('x', name='ping'), errors.ReplyMismatch, True),
    'garbage': (raw(GARBAGE), errors.DecodeError, True),
}


@pytest.mark.parametrize('framed', [False, True])
@pytest.mark.parametrize('outcome', OUTCOMES)
def test_an_error_says_where_it_happened(fault_server, client_of, outcome, framed):
    """`.server`, `.method`, `.attempts`, `.maybe_executed`, and an address in the text."""
    behaviour, kind, ran = OUTCOMES[outcome]
    server = fault_server(test_service, behaviour, framed=framed)
    client = client_of(server.address, timeout=80, name='kv', frame=framed)
    with pytest.raises(kind) as caught:
        client.getk('k')
    error = caught.value
    assert (error.server, error.method, error.attempts) == (client, 'getk', 1)
    assert error.maybe_executed is ran
    assert server.address in str(error)
    assert pickle.loads(pickle.dumps(error)).server == 'kv'


def test_what_cannot_have_run_says_so(closing, client_of):
    """Refused connects, black holes, disabled and closed clients."""
    refused = client_of(closing(ClosedPort()).address)
    hole = client_of(closing(BlackHole()).address, timeout=100)
    disabled, closed = client_of('h:1'), client_of('h:1')
    disabled.disable()
    closed.close()
    for client, kind in ((refused, errors.ConnectError), (hole, errors.CallTimeout),
                         (disabled, errors.ClientDisabledError), (closed, errors.ClientClosed)):
        with pytest.raises(kind) as caught:
            client.getk('k')
        assert caught.value.maybe_executed is False
        assert caught.value.server is client
        assert caught.value.method == 'getk'


@pytest.mark.parametrize('count', [1, 8, 100_000, 5_000_000])
def test_a_request_that_is_cut_short_cannot_have_run_more_than_it_did(
    fault_server, client_of, count
):
    """`maybe_executed` is False only if the server did not read the last byte."""
    server = fault_server(test_service, reset_after_reading(count))
    client = client_of(server.address)
    with pytest.raises((errors.ConnectionLost, errors.CallTimeout)) as caught:
        client.setk('k', 'x' * 30_000_000)  # more than the kernel keeps of it
    assert caught.value.maybe_executed is False
    assert len(server.ledger) == 0


# Code that was written for Apache's client.


def test_code_for_apaches_timeouts_works(fault_server, client_of):
    """TTransportException with type TIMED_OUT, and the built-in TimeoutError."""
    client = client_of(fault_server(test_service, silence()).address, timeout=50)
    for kind in (TTransportException, TException, TimeoutError, OSError):
        with pytest.raises(kind):
            client.getk('k')
    with pytest.raises(TTransportException) as caught:
        client.getk('k')
    assert caught.value.type == TTransportException.TIMED_OUT
    assert re.search(r'\d+ ms', caught.value.message)


def test_code_for_apaches_lost_connections_works(fault_server, closing, client_of):
    """END_OF_FILE for one that was closed, NOT_OPEN for one refused; both a ConnectionError."""
    lost = client_of(fault_server(test_service, close()).address)
    refused = client_of(closing(ClosedPort()).address)
    for client, type_ in ((lost, T.END_OF_FILE), (refused, T.NOT_OPEN)):
        with pytest.raises(ConnectionError):
            client.getk('k')
        with pytest.raises(TTransportException) as caught:
            client.getk('k')
        assert caught.value.type == type_


def test_code_for_apaches_protocol_errors_works(fault_server, client_of):
    """TProtocolException with type INVALID_DATA; an argument of a wrong type is a ValueError."""
    client = client_of(fault_server(test_service, raw(GARBAGE)).address)
    with pytest.raises(TProtocolException) as caught:
        client.getk('k')
    assert caught.value.type == TProtocolException.INVALID_DATA
    with pytest.raises(ValueError, match='getk'):
        client.getk(5)


def test_invalid_server_name_reads_well():
    """A KeyError would show its text in quotes."""
    pool = ThreadedHashClient(test_service, servers=['h:1'])
    with pytest.raises(KeyError) as caught:
        pool.get_server('other')
    assert str(caught.value) == "the pool has no server 'other'"


BARE = {
    'garbage': raw(GARBAGE),
    'zero frame': frame_length(0),
    'huge frame': frame_length(),
    'negative frame': frame_length(-5),
    'close': close(),
    'reset': reset(),
    'cut': first_bytes(reply('x' * 100), 30) + close(),
    'cut and reset': first_bytes(reply('x' * 100), 30) + reset(),
    'silence': silence(),
    'half': first_bytes(reply('x' * 100), 2) + silence(),
    'http': raw(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n') + close(),
    'ssh': raw(b'SSH-2.0-OpenSSH_9.7\r\n') + silence(),
    'tls': raw(b'\x15\x03\x03\x00\x02\x02\x0a') + close(),
    'application': application_exception(99, 'odd'),
}


@pytest.mark.parametrize(('protocol', 'framed'), [('binary', False), ('compact', True)])
@pytest.mark.parametrize('name', BARE)
def test_no_bare_error_comes_out_of_a_call(fault_server, closing, name, framed, protocol):
    """Every failure is an error of the library or an answer: no OSError, EOFError, struct.error."""
    server = fault_server(test_service, BARE[name], framed=framed, protocol=protocol)
    options = {'frame': framed, 'protocol': protocol, 'timeout': 60}
    client = closing(SimpleClient(test_service, server.address, **options))
    pool = closing(ReplicatedClient(test_service, servers=[server.address], **options))
    with pytest.raises(TException) as caught:
        client.getk('k')
    (response,) = pool.getk('k')
    for error in (caught.value, response.exception):
        assert isinstance(error, errors.ThriftClientError) is (name != 'application')
        assert type(error).__module__.startswith('thrift')


@pytest.mark.parametrize(
    ('options', 'spelling'),
    [
        ({'timeout_ms': 5}, 'timeout=5'),
        ({'servers': ['h:1']}, "a pool, such as BalancedClient(service, servers=['h:1'])"),
        ({'protocol': 'TCompactProtocol'}, "'compact'"),
        ({'retry': {'getk': 3}}, "'getk': RetryPolicy(attempts=3)"),
        ({'socket_timeout': 5}, 'timeout=5'),
        ({'max_pool_size': 5}, 'max_connections=5'),
        ({'cafile': 'ca.pem'}, "ssl=ssl.create_default_context(cafile='ca.pem')"),
        ({'ssl': 'ca.pem'}, "ssl=ssl.create_default_context(cafile='ca.pem')"),
        ({'frame': 2000}, 'timeout=2000'),
        ({'protocol': TBinaryProtocolFactory}, 'TBinaryProtocolFactory()'),
        ({'transport': TBufferedTransportFactory}, 'TBufferedTransportFactory()'),
        ({'protocol': TCompactProtocol}, "'compact'"),
        ({'transport': TFramedTransport(None)}, "'framed'"),
        ({'read_timeout': 5}, 'timeout=5'),
        ({'hostname': 'h'}, 'host=…'),
        ({'address': 'thrift://user:secret@h'}, 'host=…'),
        ({'retry_policy': 5}, 'retry=5'),
        ({'retry': RetryPolicy}, 'retry=RetryPolicy()'),
        ({'retry': {'getk': RetryPolicy}}, "'getk': RetryPolicy()"),
        ({'routing': 'ketama'}, "HashClient(service, …, routing='ketama')"),
    ],
)
def test_a_mistaken_option_is_answered_with_the_right_one(options, spelling):
    """An option's name from another library is answered with this library's."""
    with pytest.raises((TypeError, ValueError)) as caught:
        SimpleClient(test_service, 'localhost:9090', **options)
    assert str(caught.value).endswith(f'; did you mean {spelling}?')


@pytest.mark.parametrize(
    ('kind', 'options', 'spelling'),
    [
        (HashClient, {'rooting': 'ketama'}, "'routing'"),
        (AsyncHashClient, {'failovr': 1}, "'failover'"),
        (HashClient, {'replica': 2}, "'replicas'"),
        (HashClient, {'balance': 'first'}, "BalancedClient(service, …, balance='first')"),
        (BalancedClient, {'balancer': 'first'}, "'balance'"),
        (AsyncBalancedClient, {'routing': 'ketama'}, "HashClient(service, …, routing='ketama')"),
        (BalancedClient, {'max_thread': 1}, "'max_threads'"),
        (ReplicatedClient, {'serves': ['h:1']}, "'servers'"),
        (ReplicatedClient, {'hosts': ['h:1']}, 'servers=[…]'),
        (ReplicatedClient, {'wait_for': 1}, 'pool.with_options(wait_for=1)'),
    ],
)
def test_a_mistaken_keyword_of_a_pool_is_answered_with_the_right_one(kind, options, spelling):
    """So are keywords that another kind of pool has."""
    with pytest.raises(TypeError, match=re.escape(f'; did you mean {spelling}?')):
        kind(test_service, **options)


@pytest.mark.parametrize(
    ('make', 'hint'),
    [
        (lambda pool: pool.add_server('h:1', wieght=2), "did you mean 'weight'"),
        (lambda pool: pool.add_server('h:1', hostname='h'), 'did you mean host=…'),
        (lambda pool: pool.get_server(9901), 'name must be a str, not 9901'),
        (lambda pool: type(pool)(test_service, 5000), 'did you mean timeout=5000'),
        (lambda pool: pool.with_options(500), r'^with_options\(\) takes 1'),
        (lambda _: RetryPolicy(max_attempts=3), "did you mean 'attempts'"),
        (lambda _: RetryPolicy(retries=3), "did you mean 'attempts'"),
        (lambda _: CircuitBreaker(threshold=3), "did you mean 'failures'"),
        (lambda _: Hedge(delay=3), "did you mean 'after'"),
        (lambda _: CircuitBreaker(failure=3), "did you mean 'failures'"),
        (lambda _: Hedge().replace(afer=3), "did you mean 'after'"),
        (lambda _: SimpleClient(), r"^SimpleClient\(\) missing .* 'service'"),
        (lambda _: BalancedClient(), r"^BalancedClient\(\) missing .* 'service'"),
        (lambda _: HashClient(), r"^HashClient\(\) missing .* 'service'"),
        (lambda _: SimpleClient(test_service).with_options(500), r'^with_options\(\) takes 1'),
        (lambda _: SimpleClient('user:secret@h:1'), "not 'h:1'; the service is the first argument"),
        (lambda _: HashClient(['h:1']), 'the service is the first argument'),
    ],
)
def test_wrong_arguments_are_told_in_the_users_words(make, hint):
    """No text is about a class or a failure inside the library."""
    with pytest.raises(TypeError, match=hint) as caught:
        make(HashClient(test_service))
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    ('kind', 'attribute', 'owner'),
    [
        (SimpleClient, 'add_server', 'pools have it'),
        (SimpleClient, 'set_hash', 'HashClient has it'),
        (BalancedClient, 'all', 'HashClient has it'),
        (AsyncReplicatedClient, 'server_for', 'HashClient has it'),
        (AsyncHashClient, 'enable', 'SimpleClient has it'),
    ],
)
def test_an_attribute_of_another_kind_of_client_names_that_kind(kind, attribute, owner):
    """A feature of pools on a client, or of hash pools on another pool."""
    with pytest.raises(AttributeError, match=f'no method {attribute!r}; {owner}$'):
        getattr(kind(test_service), attribute)


@pytest.mark.parametrize(
    'use',
    [
        lambda pool: pool.server_for(pool.getk, 'a'),
        lambda pool: pool.call(pool.getk, 'a'),
        lambda pool: pool.submit(pool.getk, 'a'),
        lambda pool: pool.all.as_completed(pool.getk, 'a'),
        lambda pool: pool.set_hash(pool.getk, len),
        lambda _: SimpleClient(test_service).call(SimpleClient(test_service).getk, 'a'),
        lambda _: SimpleClient(test_service).submit(SimpleClient(test_service).getk, 'a'),
    ],
)
def test_a_function_in_the_place_of_a_methods_name(use):
    """The text has the name to pass."""
    with (
        HashClient(test_service, servers=['h:1']) as pool,
        pytest.raises(TypeError, match=r"^method must be a name such as 'getk', not <"),
    ):
        use(pool)


def test_two_spellings_of_one_option_are_named():
    """`frame=True` is `transport='framed'`; a duration's text in a URL names its unit."""
    with pytest.raises(ValueError, match=r"transport='framed' \(frame=True\)"):
        SimpleClient(test_service, 'http://h', frame=True)
    with pytest.raises(ValueError, match=r"a number of ms \(5000 is 5 s\), not '5s'"):
        SimpleClient(test_service, 'thrift://h?timeout=5s')
    with pytest.raises(ValueError, match='must be of class AsyncSimpleClient and service test_if'):
        AsyncHashClient(test_service).add_server(server=SimpleClient(test_service))


def test_a_pair_of_host_and_port_is_answered_with_the_address():
    """A (host, port) pair, as sockets take it, is answered with the address to write."""
    with pytest.raises(TypeError, match="did you mean 'localhost:9090'"):
        SimpleClient(test_service, ('localhost', 9090))


def test_a_timeout_that_was_meant_in_seconds_names_the_unit():
    """The hint about ms comes once and first, for short timeouts only."""
    with BlackHole() as hole:
        for timeout, times in ((9, 1), (0.5, 1), (50, 0)):
            unit = f'timeout= is in ms: for {timeout} s, set timeout={timeout * 1000:g}'
            with (
                SimpleClient(test_service, hole.address, timeout=timeout) as client,
                pytest.raises(errors.CallTimeout) as caught,
            ):
                client.ping()
            assert str(caught.value).count(unit) == times
            assert caught.value.hint.removeprefix(unit).strip('; ')


def test_a_call_after_its_deadline_is_told_to_set_a_later_one():
    """A call that begins after the deadline isn't sent, and its error says why."""
    with SimpleClient(test_service, 'localhost:9') as client, deadline(1) as limit:
        while limit.remaining() > 0:
            pass
        with pytest.raises(errors.CallTimeout, match='set a later deadline') as caught:
            client.ping()
    assert not caught.value.maybe_executed


def test_a_server_that_is_not_multiplexed_is_told_from_a_late_reply(fault_server):
    """A server that answers to `KV:ping` doesn't know services: the hint is about that option."""
    server = fault_server(test_service, reply('pong', name='KV:ping'))
    with (
        SimpleClient(test_service, server.address, service_name='KV') as client,
        pytest.raises(errors.ReplyMismatch, match='leave service_name= out'),
    ):
        client.ping()
