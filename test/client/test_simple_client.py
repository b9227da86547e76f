"""SimpleClient: each promise of its documentation."""

import contextlib
import copy
import inspect
import os
import pickle
import re
import socket
import threading
import time
import types
from pathlib import Path

import pytest
from thrift.protocol.TBinaryProtocol import (
    TBinaryProtocolAcceleratedFactory,
    TBinaryProtocolFactory,
)
from thrift.protocol.TCompactProtocol import TCompactProtocolAcceleratedFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.transport.TTransport import TBufferedTransportFactory, TFramedTransportFactory

from rich_if import rich_service
from rich_if.ttypes import Color, NotFound, Refused
from shared.base.ttypes import Outdated
from test_if import test_service
from thrift_client import SimpleClient, deadline, errors
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import answer, close, hold, reply
from ways import FACES

METHODS = [name for name in dir(rich_service.Iface) if not name.startswith('_')]
HIDDEN = {'close', 'name', 'host', 'call', 'submit'}


@pytest.fixture
def rich(rich_server, client_of):
    """A client of a real rich_service."""
    return client_of(rich_server.address, rich_service)


@pytest.mark.smoke
def test_a_call_returns_what_the_server_returned(kv_server, client_of):
    """Set, get and list over a real server."""
    client = client_of(kv_server.address)
    assert client.ping() == 'pong'
    assert client.setk('simple', 'value') is None
    assert client.getk('simple') == 'value'
    assert client.keys().count('simple') == 1


# Methods are real attributes.


def test_every_method_is_an_attribute_of_the_class():
    """Inherited ones too: `dir` of the class lists them, and one class serves all clients."""
    one, other = SimpleClient(rich_service), SimpleClient(rich_service, port=9999)
    assert type(one) is type(other)
    assert set(METHODS) <= set(dir(type(one)))
    assert {'version', 'stamped', 'require', 'note'} <= set(dir(one))


@pytest.mark.parametrize('name', [name for name in METHODS if name not in HIDDEN])
def test_a_methods_signature_and_doc_are_the_generated_ones(name):
    """`inspect.signature` and `__doc__` are the generated ones, with the defaults of the IDL."""
    ours = getattr(SimpleClient(rich_service), name)
    generated = getattr(rich_service.Client(None), name)
    given = str(inspect.signature(ours)).replace('more=[1, 2]', 'more')
    assert given == str(inspect.signature(generated))
    assert ours.__doc__ == generated.__doc__
    assert ours.__name__ == name


@pytest.mark.smoke
def test_arguments_go_by_position_or_keyword(rich):
    """Each way, mixed, and with argument names that a client uses itself."""
    assert rich.add(2, 3) == rich.add(2, b=3) == rich.add(b=3, a=2) == 5
    assert rich.arguments(timeout='a', method='b', server='c', name='d') == 'a b c d'
    assert rich.call('arguments', timeout='a', method='b', server='c', name='d') == 'a b c d'
    future = rich.submit('arguments', timeout='a', method='b', server='c', name='d')
    assert future.result(5) == 'a b c d'


def test_arguments_that_are_none_are_left_out(rich):
    """As with the generated client, None sends no field and the server's default holds."""
    assert rich.defaults('x', 1, None, []) == 'x 1 None []'
    assert rich.defaults(None, None, Color.BLUE, None) == 'text 2 4 [1, 2]'


def test_soft_keywords_are_methods(rich):
    """`match`, `case` and `type` are names like any other."""
    assert rich.match('a') == 'match a'
    assert rich.case(type='b') == 'case b'
    assert rich.type(match='c') == 'type c'


def test_an_unknown_method_names_the_nearest(kv_server, client_of):
    """An AttributeError, by attribute, `call` and `submit`, without a connection."""
    client = client_of(kv_server.address)
    with pytest.raises(AttributeError, match='getk'):
        client.gtk('k')
    with pytest.raises(AttributeError, match='getk'):
        client.call('gtk', 'k')
    with pytest.raises(AttributeError, match='getk'):
        client.submit('gtk', 'k')
    assert not hasattr(client, 'nothing_like_it')
    assert getattr(client, 'nothing_like_it', None) is None


WRONG = [((), {}), (('a', 'b'), {}), (('a',), {'key': 'a'}), ((), {'kee': 'a'})]


@pytest.mark.parametrize(('args', 'kwargs'), WRONG)
def test_wrong_arguments_are_a_type_error_before_anything_is_sent(
    fault_server, client_of, args, kwargs
):
    """Too few, too many, twice, unknown: no way of calling connects."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address)
    for make_call in (client.getk, lambda *a, **k: client.call('getk', *a, **k),
                      lambda *a, **k: client.submit('getk', *a, **k)):
        with pytest.raises(TypeError, match='argument'):
            make_call(*args, **kwargs)
    assert server.accepted == 0


def test_an_argument_that_cannot_be_encoded_sends_nothing(fault_server, client_of):
    """EncodeError, on a new and on a used connection, which stays in use."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(server.address)
    for _ in range(2):
        with pytest.raises(errors.EncodeError) as caught:
            client.getk(object())
        assert caught.value.maybe_executed is False
        assert client.getk('k') == 'k'
    assert [execution.token for execution in server.ledger.executions] == ['k', 'k']
    assert (server.accepted, server.malformed, server.unfinished) == (1, [], [])


@pytest.mark.smoke
@pytest.mark.parametrize(
    ('method', 'args', 'error'),
    [
        ('find', ('missing', False), NotFound('missing')),
        ('check', (7,), Refused(7, 'checked', [])),
        ('require', ('0',), Outdated('1.0')),
    ],
)
def test_a_declared_exception_is_raised_unchanged(rich, method, args, error):
    """It equals what the server raised, without additional attributes."""
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            rich.call(method, *args)
        assert caught.value == error
        assert vars(caught.value) == vars(error)


def test_own_attributes_take_precedence_and_call_reaches_the_service(rich, rich_server):
    """A method called like an attribute of the client is reached by `call` and `submit`."""
    assert rich.host == '127.0.0.1'
    assert rich.name == rich_server.address
    assert rich.call('host') == 'host'
    assert rich.call('name') == 'name'
    assert rich.call('call', 'x') == 'call x'
    assert rich.call('submit', 'x') == 'submit x'
    assert rich.submit('close', 'x').result(5) == 'close x'
    assert rich.call('close', 'still open') == 'close still open'
    assert rich.call('all') == rich.all() == ['all']


def test_submit_returns_a_future(fault_server, client_of):
    """`submit` returns while the server works; calls run in parallel; futures have errors."""
    gate = hold()
    server = fault_server(test_service, gate + answer(lambda args: args.key))
    client = client_of(server.address)
    futures = [client.submit('getk', key) for key in 'abc']
    server.ledger.wait_for(3, 5000)
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result(5) for future in futures] == ['a', 'b', 'c']
    client.disable()
    assert isinstance(client.submit('getk', 'd').exception(5), errors.ClientDisabledError)


def test_submit_reads_the_deadline_of_the_caller(fault_server, client_of):
    """The deadline is that of the thread that submits, whatever thread does the work."""
    server = fault_server(test_service, hold() + reply('never'))
    client = client_of(server.address)
    with deadline(60):
        future = client.submit('getk', 'k')
    assert isinstance(future.exception(5), errors.CallTimeout)


# Attributes, state and life.


def test_the_attributes_are_those_of_the_address():
    """`.service .host .port .frame .timeout .name`."""
    client = SimpleClient(test_service, 'localhost:9901', frame=True, timeout=5)
    assert (client.service, client.host, client.port) == (test_service, 'localhost', 9901)
    assert (client.frame, client.timeout, client.name) == (True, 5, 'localhost:9901')
    plain = SimpleClient(test_service, name='kv')
    assert (plain.host, plain.port, plain.frame) == ('localhost', 9090, False)
    assert (plain.timeout, plain.name) == (60000, 'kv')
    assert SimpleClient(test_service, timeout=None).timeout is None


def test_a_disabled_client_raises_in_every_thread(kv_server, client_of):
    """`disable` is seen by all threads at once, and `enable` as well."""
    client = client_of(kv_server.address)
    client.ping()
    assert client.is_enabled()
    outcomes = []

    def call():
        try:
            outcomes.append(client.ping())
        except errors.ClientDisabledError as exc:
            outcomes.append(exc)

    def in_threads():
        outcomes.clear()
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    client.disable()
    in_threads()
    assert not client.is_enabled()
    assert [type(outcome) for outcome in outcomes] == [errors.ClientDisabledError] * 4
    assert not any(outcome.maybe_executed for outcome in outcomes)
    client.enable()
    in_threads()
    assert outcomes == ['pong'] * 4


def test_a_disabled_client_sends_nothing(fault_server, client_of):
    """Neither a call nor `warm_up` connects."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address)
    client.disable()
    for refused in (client.warm_up, client.ping):
        with pytest.raises(errors.ClientDisabledError):
            refused()
    assert server.accepted == 0


def test_nothing_is_opened_before_the_first_call_and_the_connection_is_kept(
    fault_server, client_of
):
    """No socket for a client that isn't called; one for many calls."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(server.address)
    assert client.is_enabled()
    assert server.address in repr(client)
    assert 'getk' in dir(client)
    assert server.accepted == 0
    for number in range(20):
        assert client.getk(str(number)) == str(number)
    assert server.accepted == 1


def test_warm_up_connects(fault_server, client_of):
    """One connection, used by the next call, and not a second one when repeated."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address)
    client.warm_up()
    server.wait_open(1, 5000)
    client.warm_up()
    assert client.getk('k') == 'x'
    assert server.accepted == 1


def test_warm_up_raises_if_no_server_listens(closing, client_of):
    """ConnectError, which names the server."""
    port = closing(ClosedPort())
    client = client_of(port.address)
    with pytest.raises(errors.ConnectError, match=port.address) as caught:
        client.warm_up()
    assert caught.value.server is client


def test_close_is_idempotent_and_final(fault_server):
    """Connections are closed, calls raise ClientClosed, closing again does nothing."""
    server = fault_server(test_service, reply('x'))
    client = SimpleClient(test_service, server.address)
    client.getk('k')
    client.submit('getk', 'k').result(5)
    client.close()
    client.close()
    server.wait_open(0, 5000)
    for refused in (client.ping, client.warm_up, lambda: client.submit('ping').result(5)):
        with pytest.raises(errors.ClientClosed):
            refused()
    client.enable()
    with pytest.raises(errors.ClientClosed):
        client.ping()


def test_close_lets_a_call_in_flight_finish(fault_server):
    """Its answer arrives, and its connection is closed after it."""
    gate = hold()
    server = fault_server(test_service, [reply('first'), gate + reply('in flight')])
    client = SimpleClient(test_service, server.address)
    client.getk('a')
    future = client.submit('getk', 'b')
    gate.wait_reached(5000)
    client.close()
    gate.open()
    assert future.result(5) == 'in flight'
    server.wait_open(0, 5000)


def test_a_with_block_closes(fault_server):
    """The block closes the client, also when it raises an immutable declared exception."""
    server = fault_server(test_service, reply('x'))
    client = SimpleClient(test_service, server.address)

    def block():
        with client as entered:
            assert entered is client
            client.getk('k')
            raise NotFound('k')

    with pytest.raises(NotFound):
        block()
    server.wait_open(0, 5000)
    with pytest.raises(errors.ClientClosed):
        client.ping()


# Views.


def test_a_view_shares_connections_and_state(fault_server, client_of):
    """`with_options` makes a view: same connections, same state, its own timeout."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(server.address, timeout=5000, name='kv')
    view = client.with_options(timeout=300)
    assert (view.timeout, client.timeout, view.name) == (300, 5000, 'kv')
    assert (client.getk('a'), view.getk('b'), client.getk('c')) == ('a', 'b', 'c')
    assert server.accepted == 1
    view.disable()
    with pytest.raises(errors.ClientDisabledError):
        client.getk('d')
    client.enable()
    with view:
        view.close()
    assert client.getk('e') == 'e'


def test_a_views_timeout_holds_on_the_clients_connections(fault_server, client_of):
    """A shorter and a longer one than that of the client that opened the connection."""
    gate = hold()
    server = fault_server(test_service, [reply('warm'), gate + reply('late'), reply('x')])
    client = client_of(server.address, timeout=30_000)
    client.getk('a')
    began = time.monotonic()
    with pytest.raises(errors.CallTimeout):
        client.with_options(timeout=100).getk('b')
    assert time.monotonic() - began < 1
    gate.open()
    assert client.with_options(timeout=None).getk('c') == 'x'


@pytest.mark.parametrize('options', [{'timeot': 5}, {'protocol': 'compact'}, {'max_idle': 1}])
def test_a_view_takes_only_options_of_a_call(options):
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match=next(iter(options))):
        SimpleClient(test_service).with_options(**options)


def test_a_views_timeout_is_checked():
    """0 or less is a ValueError, as in the constructor."""
    with pytest.raises(ValueError, match='timeout'):
        SimpleClient(test_service).with_options(timeout=0)


# Addresses, services, options.


@pytest.mark.needs('unix sockets')
def test_unix_sockets(server_process, client_of, tmp_path):
    """`unix:/path` has the path as its host and no port."""
    path = tmp_path / 'kv.sock'
    server = server_process(host=f'unix:{path}')
    client = client_of(server.address)
    assert (client.host, client.port, client.name) == (str(path), None, f'unix:{path}')
    client.setk('unix', 'value')
    assert client.getk('unix') == 'value'


@pytest.mark.needs('unix sockets')
@pytest.mark.parametrize('path', ['', 'nothing/here.sock'])
def test_a_unix_socket_has_no_port_to_check(path, tmp_path):
    """A path that is not a socket, or not there."""
    client = SimpleClient(test_service, f'unix:{tmp_path / path}')
    with client, pytest.raises(errors.ConnectError) as caught:
        client.ping()
    assert caught.value.hint == 'check the path, and that the server is running'


@pytest.mark.skipif(not socket.has_ipv6, reason='this machine has no IPv6')
def test_ipv6(fault_server, client_of):
    """The host of `[::1]:port` is `::1`."""
    server = fault_server(test_service, reply('x'), host='::1')
    client = client_of(server.address)
    assert (client.host, client.port) == ('::1', server.port)
    assert client.getk('k') == 'x'


def test_a_name_is_looked_up_at_each_connect(fault_server, client_of, monkeypatch):
    """All its addresses are tried, and one that has moved is found again."""
    first = fault_server(test_service, reply('first'))
    second = fault_server(test_service, reply('second'))
    ports = [first.port]

    def getaddrinfo(host, port, *_):
        assert (host, port) == ('kv.test', 9090)
        nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', 1))
        return [nobody, (socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', ports[-1]))]

    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    client = client_of('kv.test', max_idle=0)
    assert client.getk('k') == 'first'
    ports.append(second.port)
    assert client.getk('k') == 'second'
    assert client.host == 'kv.test'


@pytest.mark.parametrize('host', ['999.999.999.999', 'fe80::1%nosuchlink'])
def test_a_name_without_an_address_is_a_resolve_error(client_of, host):
    """An unknown name, even one like a number, is a ResolveError; nothing was sent."""
    address = f'[{host}]:9090' if ':' in host else f'{host}:9090'
    with pytest.raises(errors.ResolveError) as caught:
        client_of(address).ping()
    assert caught.value.maybe_executed is False


def test_a_url_carries_options(fault_server, client_of):
    """`thrift://host:port?frame=1&protocol=compact`."""
    server = fault_server(test_service, reply('x'), protocol='compact', framed=True)
    client = client_of(f'thrift://{server.address}?frame=1&protocol=compact&timeout=2000')
    assert (client.frame, client.timeout) == (True, 2000)
    assert client.name == f'thrift://{server.address}'
    assert client.getk('k') == 'x'


@pytest.mark.parametrize(
    'address',
    [
        '', ' ', 'host:', ':9090', 'host:port', 'host:0', 'host:65536', 'host:-1', 'host:9090x',
        'a b:9090', '[::1', '[::1]9090', '[zz]:9090', '[::1]:', 'ftp://host:1', 'thrift://',
        'thrift://host:0', 'thrift://[::1', 'thrift://[zz]:9090', 'thrift://host/path',
        'unix:', 'unix:relative', 'unix:/' + 'x' * 200, 'x' * 300, 'host:٣', 'a..b',
    ],
)  # fmt: skip
def test_a_bad_address_is_a_value_error_that_quotes_it(address):
    """The constructor raises the ValueError."""
    with pytest.raises(ValueError, match=re.escape(repr(address))):
        SimpleClient(test_service, address)


@pytest.mark.parametrize(('host', 'port'), [('localhost', 0), ('h', 65536), ('h:1', 2), ('h', -5)])
def test_a_bad_port_is_a_value_error_that_quotes_it(host, port):
    """Outside 1…65535, or two that differ."""
    with pytest.raises(ValueError, match=str(port)):
        SimpleClient(test_service, host, port)


def test_the_same_port_twice_is_not_a_contradiction():
    """The address and the argument may give the same port."""
    assert SimpleClient(test_service, 'h:9901', 9901).port == 9901


def test_a_password_is_not_quoted():
    """An error about a URL leaves its credentials out."""
    with pytest.raises(ValueError, match='host') as caught:
        SimpleClient(test_service, 'thrift://user:secret@host:0')
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize('scheme', ['thrifts', 'http', 'https'])
def test_a_scheme_is_never_silently_ignored(fault_server, scheme):
    """An address that asks for TLS or HTTP never sends a bare call: it is refused, or spoken."""
    server = fault_server(test_service, reply('x') + close())
    with (
        pytest.raises((errors.ThriftClientError, ValueError, TypeError, ImportError)),
        SimpleClient(test_service, f'{scheme}://{server.address}', timeout=500) as client,
    ):
        client.getk('k')
    assert len(server.ledger) == 0


@pytest.mark.parametrize(
    'service',
    [None, 'test_if.test_service', object(), test_service.Client, socket, types.ModuleType('m')],
)
def test_what_is_not_a_service_is_a_type_error(service):
    """It says what was expected."""
    with pytest.raises(TypeError, match='thrift --gen py'):
        SimpleClient(service)


@pytest.mark.parametrize(
    'options',
    [{'time_out': 5}, {'retries': 3}, {'verify': True}, {'keepalive': None}, {'_timeout': 5}],
)
def test_an_unknown_option_is_a_type_error(options):
    """It is never ignored."""
    with pytest.raises(TypeError, match=next(iter(options))):
        SimpleClient(test_service, **options)


def test_an_unknown_option_names_the_nearest():
    """The error suggests the correct spelling."""
    with pytest.raises(TypeError, match="'protocol'"):
        SimpleClient(test_service, protocl='compact')


@pytest.mark.parametrize('timeout', [0, -1, -0.5, float('nan')])
def test_a_timeout_of_0_or_less_is_a_value_error(timeout):
    """Only None means no limit."""
    with pytest.raises(ValueError, match='timeout'):
        SimpleClient(test_service, timeout=timeout)


@pytest.mark.parametrize('timeout', [10**7, 10**12, 1e30])
def test_a_timeout_may_have_any_length(fault_server, client_of, timeout):
    """Timeouts beyond what clocks and system calls can express work on every call."""
    gate = hold()
    server = fault_server(test_service, gate + reply('x'))
    client = client_of(server.address, timeout=timeout)
    future = client.submit('getk', 'k')
    gate.wait_reached(5000)
    gate.open()
    assert future.result(5) == 'x'
    assert client.getk('k') == 'x'


# Protocols and transports.


@pytest.mark.smoke
@pytest.mark.parametrize('transport', ['buffered', 'framed'])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_protocols_and_transports(fault_server, client_of, protocol, transport):
    """Each protocol and transport, by name, calls a server that only knows that one."""
    framed = transport == 'framed'
    server = fault_server(
        test_service, answer(lambda args: args.key), protocol=protocol, framed=framed
    )
    client = client_of(server.address, protocol=protocol, transport=transport)
    assert client.frame is framed
    assert [client.getk(key) for key in ('', 'a', 'ä' * 5000)] == ['', 'a', 'ä' * 5000]


@pytest.mark.parametrize('framed', [False, True])
@pytest.mark.parametrize(
    ('factory', 'protocol'),
    [
        (TBinaryProtocolFactory, 'binary'),
        (TBinaryProtocolAcceleratedFactory, 'binary'),
        (TCompactProtocolAcceleratedFactory, 'compact'),
        (TJSONProtocolFactory, 'json'),
    ],
)
def test_apache_protocol_factories(thrift_server, client_of, factory, protocol, framed):
    """A factory selects the protocol that it makes; large values work, too."""
    transport = 'framed' if framed else 'buffered'
    server = thrift_server(test_service, Echo(), protocol=protocol, transport=transport)
    client = client_of(server.address, protocol=factory(), frame=framed)
    for key in ('a', 'b' * 100_000, 'ü'):
        assert client.getk(key) == key


class Echo:
    def getk(self, key):
        return key


@pytest.mark.parametrize(
    ('factory', 'framed'), [(TFramedTransportFactory, True), (TBufferedTransportFactory, False)]
)
def test_apache_transport_factories(fault_server, client_of, factory, framed):
    """A factory selects the transport that it makes."""
    server = fault_server(test_service, answer(lambda args: args.key), framed=framed)
    client = client_of(server.address, transport=factory())
    assert [client.getk(key) for key in ('a', 'b' * 100_000)] == ['a', 'b' * 100_000]


def test_frame_and_transport_may_not_differ():
    """`frame=True` is `transport='framed'` and nothing else."""
    assert SimpleClient(test_service, frame=True, transport='framed').frame
    with pytest.raises(ValueError, match='buffered'):
        SimpleClient(test_service, frame=True, transport='buffered')


# Idle connections.


def test_no_idle_connection_is_kept_with_max_idle_0(fault_server, client_of):
    """Each call connects, and its connection is closed when it is done."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(server.address, max_idle=0)
    for number in range(3):
        assert client.getk(str(number)) == str(number)
        server.wait_open(0, 5000)
    assert server.accepted == 3


def test_idle_connections_over_max_idle_are_closed(fault_server, client_of):
    """Three calls at a time leave two."""
    gate = hold()
    server = fault_server(test_service, gate + reply('x'))
    client = client_of(server.address, max_idle=2)
    futures = [client.submit('getk', key) for key in 'abc']
    server.ledger.wait_for(3, 5000)
    gate.open()
    assert [future.result(5) for future in futures] == ['x'] * 3
    server.wait_open(2, 5000)
    assert client.getk('d') == 'x'
    assert server.accepted == 3


def test_a_connection_idle_for_longer_than_idle_timeout_is_not_used(fault_server, client_of):
    """It is closed, and the call goes over a new one."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address, idle_timeout=20)
    client.getk('a')
    time.sleep(0.05)  # idle time is what is tested
    client.getk('b')
    assert [execution.connection for execution in server.ledger.executions] == [0, 1]
    server.wait_open(1, 5000)


@pytest.mark.parametrize('face', FACES, ids=lambda face: face.name)
def test_the_time_of_a_call_is_not_idle_time(rich_server, face, closing):
    """Calls that take longer than idle_timeout, one after the other, use one connection."""
    client = closing(face.client(rich_service, rich_server.address, idle_timeout=60))
    for milliseconds in (0, 0, 0, 80, 80, 0):
        client.sleep_ms(milliseconds)
    assert client.stats().opened == 1


def test_a_connection_closed_while_idle_is_replaced(fault_server, client_of):
    """It is checked before it is used again, so that its end costs no call."""
    server = fault_server(test_service, reply('x') + close())
    client = client_of(server.address)
    client.getk('a')
    server.wait_open(0, 5000)
    time.sleep(0.01)  # after 5 ms a loss must be noticed
    assert client.getk('b') == 'x'
    assert server.accepted == 2


def socket_to(port):
    """Return a duplicate of this process's only socket that is connected to a local port."""
    found = []
    for link in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):  # closed by now, or not connected
            if str(link.readlink()).startswith('socket:'):
                with socket.socket(fileno=os.dup(int(link.name))) as one:
                    if one.getpeername()[1:2] == (port,):
                        found.append(one.dup())
    (connection,) = found
    return connection


def test_nagle_is_off_and_keepalive_on(fault_server, client_of):
    """The options are set on the connection's own socket."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address)
    client.getk('k')
    with socket_to(server.port) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_restarted_server_is_found_again(server_process, client_of):
    """The refused call raises an error, and the first call after the restart succeeds."""
    server = server_process()
    client = client_of(server.address)
    assert client.ping() == 'pong'
    server.stop()
    with pytest.raises(ConnectionError):
        client.ping()
    with pytest.raises(errors.ConnectError):
        client.ping()
    server.restart()
    assert client.ping() == 'pong'


# Copying, pickling and inspection.


PROBED = [
    '_ipython_display_', '_repr_html_', '_repr_mimebundle_', '_repr_png_', '__html__',
    '_ipython_canary_method_should_not_exist_', '__array__', '__len__', '__wrapped__',
    '__deepcopy__', '__getstate_manages_dict__', '_sa_instance_state',
]  # fmt: skip


def test_looking_at_a_client_makes_no_call(fault_server, client_of):
    """repr, dir, hasattr, and what IPython and others probe for: no connection, no method."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server.address)
    assert 'test_service' in repr(client)
    assert server.address in repr(client)
    assert 'kv' in repr(SimpleClient(test_service, name='kv'))
    assert not [name for name in PROBED if hasattr(client, name)]
    assert client != SimpleClient(test_service, server.address)
    assert isinstance(hash(client), int)
    assert isinstance(client, SimpleClient)
    assert server.accepted == 0


@pytest.mark.parametrize('duplicate', [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_cannot_be_copied_or_pickled(duplicate):
    """The TypeError gives the reason."""
    with pytest.raises(TypeError, match='connections'):
        duplicate(SimpleClient(test_service))
