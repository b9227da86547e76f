"""THeader's headers, multiplexed services, a user's own transports, URLs, and limits of replies."""

import time

import pytest
from thrift.protocol.TBinaryProtocol import (
    TBinaryProtocol,
    TBinaryProtocolAcceleratedFactory,
    TBinaryProtocolFactory,
)
from thrift.protocol.TCompactProtocol import (
    TCompactProtocolAcceleratedFactory,
    TCompactProtocolFactory,
)
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.transport.TTransport import (
    TBufferedTransport,
    TBufferedTransportFactory,
    TFramedTransport,
    TFramedTransportFactory,
)

from handlers import KeyValue, Rich
from on_loop import BLOCKING
from rich_if import rich_service
from test_if import test_service
from thrift_client import (
    HashClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import Server
from ways import FEW_WIRES
from wire.calls import check_all, check_few


class EchoingHeaders(THeaderProtocolFactory):
    """Its replies have the headers of the requests."""

    def getProtocol(self, transport):
        protocol = super().getProtocol(transport)
        flush = protocol.trans.flush

        def flush_with_headers():
            for name, value in protocol.trans.get_headers().items():
                protocol.trans.set_header(name, value)
            flush()

        protocol.trans.flush = flush_with_headers
        return protocol


@pytest.mark.parametrize('kind', ['hash_pool', 'fan_out'])
def test_theader_headers_go_both_ways(kind, face):
    """Fixed ones and those of a callable per call; the reply's are on the response."""
    count = iter(range(10))
    with Server(test_service, KeyValue(), protocol=EchoingHeaders()) as server:
        for headers, seen in (
            ({'Größe': '1'}, [{'Größe': '1'}] * 2),
            (lambda: {'n': str(next(count))}, [{'n': '0'}, {'n': '1'}]),
            (None, [{}, {}]),
        ):
            with getattr(face, kind)(
                test_service, servers=[server.address], protocol='header', headers=headers
            ) as pool:
                responses = [pool.setk('k', 'v') for _ in range(2)]
                first = [r[0] if isinstance(r, list) else r for r in responses]
                assert [each.headers for each in first] == seen


def test_a_plain_response_has_no_headers(kv_server, face):
    """Responses of transports without headers have none."""
    with face.hash_pool(test_service, servers=[kv_server.address]) as pool:
        assert pool.setk('k', 'v').headers is None


@pytest.mark.parametrize(('transport', 'protocol'), FEW_WIRES)
def test_a_multiplexed_service_is_called_by_its_name(transport, protocol, face):
    """Calls name the service, replies don't."""
    options = {'transport': transport, 'protocol': protocol}
    with Server(rich_service, Rich(), service_name='rich', **options) as server, face.client(
        rich_service, server.address, service_name='rich', timeout=5000, **options
    ) as client:
        check_few(client.call)


# The tests of a user's own transports are blocking only: on an event loop they would block it, and
# are refused.
class Rot13(TBufferedTransport):
    """A transport of a user's own."""

    def write(self, buf):
        super().write(bytes(byte ^ 13 for byte in buf))

    def read(self, sz):
        return bytes(byte ^ 13 for byte in super().read(sz))


class Rot13Factory:
    def getTransport(self, trans):
        return Rot13(trans)


class FramedAgainFactory:
    """Apache's own transport, but not by the factory whose deadlines are known to hold."""

    def getTransport(self, trans):
        return TFramedTransport(trans)


@pytest.mark.parametrize('factory', [FramedAgainFactory, Rot13Factory])
def test_a_users_own_transport_is_used(factory):
    """Clients and fan-outs use it, with and without threads."""
    framed = factory is FramedAgainFactory
    transport = 'framed' if framed else Rot13Factory()
    with Server(rich_service, Rich(), protocol=TBinaryProtocolFactory(), transport=transport) as s:
        options = {'transport': factory(), 'timeout': 5000}
        with SimpleClient(rich_service, s.address, **options) as client:
            check_all(client.call)
            assert client.stats().opened == 1
        for pool_class in (ReplicatedClient, ThreadedReplicatedClient):
            with pool_class(rich_service, servers=[s.address], **options) as pool:
                check_few(lambda name, *args, pool=pool: pool.call(name, *args)[0].value())


@pytest.mark.parametrize('factory', [TFramedTransportFactory, TBufferedTransportFactory])
def test_apaches_own_factories_are_the_names(factory):
    """They mean the library's own transports, which keep the deadlines."""
    client = SimpleClient(test_service, transport=factory())
    assert client.frame is (factory is TFramedTransportFactory)


def test_a_users_own_transport_keeps_the_deadline():
    """The timeout limits each wait, and the next call is right."""
    with Server(
        rich_service, Rich(), protocol=TBinaryProtocolFactory(), transport=Rot13Factory()
    ) as server, SimpleClient(
        rich_service, server.address, transport=Rot13Factory(), timeout=5000
    ) as client:
        began = time.monotonic()
        with pytest.raises(errors.CallTimeout):
            client.with_options(timeout=100).sleep_ms(300)
        assert time.monotonic() - began < 0.3
        assert client.echo('after') == 'after'


def check_limits(face, address, **options):
    """A reply of 100 KB is too large under one limit and read under another, fanned out too."""
    options['timeout'] = 10000
    for limit, fits in ((50_000, False), (200_000, True)):
        options['max_message_size'] = limit
        with face.client(rich_service, address, **options) as client:
            if fits:
                assert len(client.blob(100_000)) == 100_000
            else:
                with pytest.raises(errors.MessageTooLarge):
                    client.blob(100_000)
                assert client.echo('after') == 'after'
        with face.fan_out(rich_service, servers=[address], **options) as pool:
            exception = pool.blob(100_000)[0].exception
            assert fits == (exception is None)
            assert fits or isinstance(exception, errors.MessageTooLarge)


@pytest.mark.parametrize('transport', ['buffered', 'framed', 'zlib', 'header', 'http'])
def test_a_reply_over_the_limit_ends_there(transport, face, rich_servers):
    """Each transport refuses it; with a larger limit, the same reply is read."""
    check_limits(face, rich_servers[transport, 'binary', False].address, transport=transport)


@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_a_reply_of_several_reads_ends_at_the_limit(protocol, face, rich_servers):
    """Also one whose end is in the same read as the first byte over the limit."""
    address = rich_servers['buffered', protocol, False].address
    texts = ['x' * 9] * 4500
    with face.client(rich_service, address, protocol=protocol, timeout=5000) as client:
        assert client.texts(texts) == texts
    options = {'protocol': protocol, 'timeout': 5000, 'max_message_size': 30_000}
    with face.client(rich_service, address, **options) as client:
        with pytest.raises(errors.MessageTooLarge, match='max_message_size=30000'):
            client.texts(texts)
        assert client.stats().discarded == 1


def test_a_users_own_transport_keeps_the_limit():
    """The limit holds, whatever the user's transport reads."""
    with Server(
        rich_service, Rich(), protocol=TBinaryProtocolFactory(), transport=Rot13Factory()
    ) as server:
        check_limits(BLOCKING, server.address, transport=Rot13Factory())


@pytest.mark.parametrize(
    ('transport', 'protocol'),
    [
        *((transport, protocol) for transport in ('buffered', 'framed', 'zlib', 'header')
          for protocol in ('binary', 'compact')),
        ('http', 'binary'),
    ],
)  # fmt: skip
def test_a_container_over_the_limit_ends_there(transport, protocol, face, rich_servers):
    """The error is raised before elements are created."""
    address = rich_servers[transport, protocol, False].address
    options = {'transport': transport, 'protocol': protocol, 'timeout': 5000}
    with face.client(rich_service, address, max_container_length=10, **options) as client:
        assert len(client.structs(10)) == 10
        with pytest.raises(errors.MessageTooLarge):
            client.structs(11)


class Borrowing:
    """A factory of protocols that its user wrote, around Apache's."""

    def getProtocol(self, transport):
        return TBinaryProtocol(transport)


class Bare(TBinaryProtocol):
    """A protocol without limits."""

    def __init__(self, transport):
        super().__init__(transport)
        del self.container_length_limit


@pytest.mark.parametrize(
    ('protocol', 'factory', 'limit'),
    [
        *((protocol, factory(**own), limit)
          for protocol, factories in {
              'binary': (TBinaryProtocolFactory, TBinaryProtocolAcceleratedFactory),
              'compact': (TCompactProtocolFactory, TCompactProtocolAcceleratedFactory),
          }.items()
          for factory in factories
          for own, limit in (
              ({}, 10),
              ({'container_length_limit': 10}, 10_000),
              ({'container_length_limit': 10_000}, 10),
          )),
        ('binary', Borrowing(), 10),
    ],
)  # fmt: skip
def test_a_container_of_a_factorys_protocol_ends_there(
    protocol, factory, limit, face, rich_servers
):
    """The lower one of the option and the factory's own limit holds."""
    address = rich_servers['buffered', protocol, False].address
    options = {'protocol': factory, 'max_container_length': limit, 'timeout': 5000}
    with face.client(rich_service, address, **options) as client:
        with pytest.raises(errors.MessageTooLarge):
            client.structs(11)
        assert len(client.structs(10)) == 10


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
def test_a_factory_without_limits_is_refused(kind):
    """The option would have no effect; that of a pool only has none for this server."""

    class BareFactory:
        def getProtocol(self, transport):
            return Bare(transport)

    for factory in BareFactory(), TJSONProtocolFactory():
        kind(rich_service, protocol=factory)
        with pytest.raises(ValueError, match='max_container_length contradicts protocol='):
            kind(rich_service, protocol=factory, max_container_length=5)
        HashClient(rich_service, max_container_length=5).add_server('h', protocol=factory)


@pytest.mark.parametrize(
    ('url', 'wire'),
    [
        ('thrift://{}?protocol=compact&frame=1', ('framed', 'compact', False)),
        ('thrift://{}?transport=header', ('header', 'binary', False)),
        ('thrift://{}?transport=zlib&protocol=json', ('zlib', 'json', False)),
        ('http://{}/p', ('http', 'binary', False)),
    ],
)
def test_a_url_carries_the_options(url, wire, face, rich_servers):
    """Scheme and query set transport and protocol, which the server requires."""
    with face.client(
        rich_service, url.format(rich_servers[wire].address), timeout=2000
    ) as client:
        assert client.version() == '1.0'


@pytest.mark.parametrize(
    ('url', 'wire'),
    [
        ('thrifts://{}', ('buffered', 'binary', True)),
        ('thrift://{}?ssl=1', ('buffered', 'binary', True)),
        ('https://{}/p', ('http', 'binary', True)),
    ],
)
def test_a_url_asks_for_tls(url, wire, rich_servers):
    """It is verified with the system's authorities, which don't know the tests' own."""
    with (
        SimpleClient(rich_service, url.format(rich_servers[wire].address)) as client,
        pytest.raises(errors.CertificateError),
    ):
        client.version()


def test_a_url_names_the_service():
    """The URL names one service of a multiplexed server."""
    with (
        Server(rich_service, Rich(), service_name='rich') as server,
        SimpleClient(rich_service, f'thrift://{server.address}?service_name=rich') as client,
    ):
        assert client.version() == '1.0'


@pytest.mark.parametrize(
    ('url', 'options'),
    [
        ('http://h/', {'transport': 'framed'}),
        ('http://h/', {'sasl': {'mechanism': 'PLAIN'}}),
        ('thrift://h?protocol=bson', {}),
        ('thrift://h?ssl=maybe', {}),
    ],
)
def test_a_url_that_contradicts_itself_is_a_value_error(url, options):
    """The constructor raises the ValueError."""
    with pytest.raises(ValueError, match=r'.+'):
        SimpleClient(test_service, url, **options)
