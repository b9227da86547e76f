"""A user's subclasses of clients and pools, mocks, and methods that the client hides."""

import asyncio
import inspect
import logging
import pydoc
from unittest import mock

import pytest

import thrift_client
from handlers import KeyValue
from on_loop import OnLoop
from rich_if import rich_service
from test_if import test_service
from thrift_client import aio, load
from thrift_client.testing import serve

CLIENTS = (thrift_client.SimpleClient, aio.AsyncSimpleClient)
POOLS = (
    thrift_client.HashClient,
    thrift_client.ThreadedHashClient,
    thrift_client.ReplicatedClient,
    thrift_client.ThreadedReplicatedClient,
    thrift_client.BalancedClient,
    aio.AsyncHashClient,
    aio.AsyncReplicatedClient,
    aio.AsyncBalancedClient,
)
KINDS = CLIENTS + POOLS


def is_asyncio(kind):
    """Tell whether calls of a kind of client are awaited."""
    return kind.__name__.startswith('Async')


def subclass(kind):
    """Make a subclass with a constructor, an attribute and a method of its own."""

    class Shop(kind):
        """The shop's own client."""

        def __init__(self, address, country):
            self.country = country
            servers = {'servers': [address]} if kind in POOLS else {'host': address}
            super().__init__(test_service, timeout=5000, **servers)
            self.city = 'anywhere in ' + country

        def place(self):
            """What both constructors have set."""
            return self.city, self.country, self.timeout if kind in CLIENTS else 5000

    return Shop


def value_of(got):
    """The value in what a client or pool of any kind returns."""
    got = got[0] if isinstance(got, list) else got
    return got if isinstance(got, (str, type(None))) else got.value()


@pytest.fixture(scope='module')
def address():
    """Run a server."""
    with serve(test_service, KeyValue()) as server:
        yield server.address


@pytest.fixture
def opened(closing):
    """Have a client closed, and its calls waited for."""
    return lambda client: closing(OnLoop(client) if hasattr(client, '__aenter__') else client)


@pytest.mark.parametrize('kind', KINDS)
def test_a_subclass_has_its_own_constructor(kind, address, opened):
    """Calls, attributes, `isinstance` and views work as before."""
    made = subclass(kind)(address, 'Chile')
    client = opened(made)
    assert isinstance(made, kind)
    assert type(made).__name__ == 'Shop'
    assert type(made).__doc__ == "The shop's own client."
    assert value_of(client.ping()) == 'pong'
    assert client.place() == ('anywhere in Chile', 'Chile', 5000)
    view = made.with_options(timeout=4000)
    assert (type(view), view.city) == (type(made), made.city)
    assert value_of(client.with_options(timeout=4000).ping()) == 'pong'


@pytest.mark.parametrize('kind', KINDS)
def test_views_have_the_attributes_in_slots(kind):
    """Also those of a base and private ones; one that is not set stays so."""

    class Base(kind):
        __slots__ = ('tenant',)

        def __init__(self, tenant):
            self.tenant = tenant
            super().__init__(test_service)

    class Shop(Base):
        __slots__ = ('__city', 'unset')

        def place(self):
            """What a caller has set."""
            return self.tenant, self.__city

        def move(self, city):
            """Set a private attribute."""
            self.__city = city

    made = Shop('one')
    made.move('Lima')
    views = [made.with_options(timeout=5), made.with_options(idempotent=True)]
    if hasattr(made, 'pinned'):
        views.append(made.pinned())
    if kind in CLIENTS:
        views.append(made.for_service(rich_service))
    views += [view.with_options(timeout=6) for view in views]
    assert [view.place() for view in views] == [('one', 'Lima')] * len(views)
    assert not any(hasattr(view, 'unset') for view in views)
    made.tenant = 'two'
    assert made.with_options(timeout=5).place() == ('two', 'Lima')


@pytest.mark.parametrize('kind', KINDS)
def test_two_services_of_one_subclass(kind, address):
    """Each has its own methods."""

    class Any(kind):
        def __init__(self, service):
            super().__init__(service)

    assert hasattr(Any(test_service), 'getk')
    assert not hasattr(Any(rich_service), 'getk')
    assert hasattr(Any(rich_service), 'add')


@pytest.mark.parametrize('kind', CLIENTS)
def test_a_subclass_overrides_a_method(kind, address, opened):
    """An overriding method can call the client's own."""

    class Loud(kind):
        def setk(self, key, value):
            return super().setk(key, value.upper())

    client = opened(Loud(test_service, address))
    client.setk('k', 'quiet')
    assert client.getk('k') == 'QUIET'


@pytest.mark.parametrize('kind', KINDS)
def test_an_override_holds_for_every_call(kind, address, opened):
    """The access to the pool's own method by `super()` doesn't hide the override."""

    class Counting(kind):
        pings = 0

        def ping(self):
            self.pings += 1
            return super().ping()

    made = Counting(test_service, **{'servers': [address]} if kind in POOLS else {'host': address})
    client = opened(made)
    assert [value_of(client.ping()) for _ in range(3)] == ['pong'] * 3
    assert made.pings == 3


@pytest.mark.parametrize('kind', POOLS)
def test_methods_exist_while_servers_are_added(kind, address):
    """A subclass may prepare a method in its own `add_server`, also for `servers=`."""

    class Prepared(kind):
        def add_server(self, *args, **options):
            self.prepared = self.ping
            return super().add_server(*args, **options)

    made = Prepared(test_service, servers=[address])
    assert made.prepared is made.ping


@pytest.mark.parametrize('kind', POOLS)
def test_views_keep_what_a_user_has_set(kind, address):
    """An attribute set in place of a method is the view's, too, whether the method was used."""
    for is_used in (False, True):
        made = kind(test_service, servers=[address])
        if is_used:
            assert made.getk is made.getk
        made.getk = 'mine'
        assert made.with_options(timeout=4000).getk == 'mine'


@pytest.mark.parametrize('kind', KINDS)
def test_a_method_can_be_mocked(kind, address, opened):
    """A mock replaces the method of one client until its block ends; asyncio has AsyncMock."""
    made = subclass(kind)(address, 'Chile')
    client, other = opened(made), opened(subclass(kind)(address, 'Peru'))
    with mock.patch.object(made, 'getk', return_value='mocked') as mocked:
        assert isinstance(mocked, mock.AsyncMock) is is_asyncio(kind)
        assert client.getk('a') == 'mocked'
        mocked.assert_called_once_with('a')
        assert value_of(client.ping()) == value_of(other.ping()) == 'pong'
    with mock.patch.object(made, 'ping', side_effect=[KeyError('mine')]), pytest.raises(KeyError):
        client.ping()
    value_of(client.setk('a', 'b'))
    assert value_of(client.getk('a')) == 'b'


@pytest.mark.parametrize('kind', POOLS)
def test_views_for_single_calls_follow_the_pool(kind):
    """A view that is asked for again is remembered, but not what the pool had before."""
    made = subclass(kind)('h:1', 'Chile')

    def view():
        return made.with_options(timeout=500)

    assert view() is not view() is view()
    with mock.patch.object(made, 'getk', return_value='mocked'):
        mocked = made.getk
        assert [view().getk is mocked for _ in range(3)] == [True] * 3
    assert [view().getk is mocked for _ in range(3)] == [False] * 3
    made.city = 'Arica'
    assert view().city == 'Arica'
    del made.city
    assert not hasattr(view(), 'city')


@pytest.mark.parametrize('kind', KINDS)
def test_autospec_knows_the_arguments(kind, address):
    """`create_autospec` and `inspect` see the methods' signatures."""
    made = subclass(kind)(address, 'Chile')
    with mock.patch.object(made, 'getk', autospec=True) as mocked:
        with pytest.raises(TypeError):
            mocked()
        if is_asyncio(kind):
            asyncio.run(mocked('a'))
            mocked.assert_awaited_once()
    assert str(inspect.signature(made.getk)) == '(key)'


HIDING = 'service Hiding { i32 stats(), i32 close(), i32 fine() }'


@pytest.mark.parametrize('kind', KINDS)
def test_a_method_named_like_an_attribute(kind, tmp_path, caplog):
    """The log says so when the class is made, and `help` how to call it."""
    caplog.set_level(logging.INFO, 'thrift_client')
    (tmp_path / 'hiding.thrift').write_text(HIDING)
    service = load(tmp_path / 'hiding.thrift').Hiding
    made = kind(service)
    (record,) = [record for record in caplog.records if 'stats' in record.getMessage()]
    assert record.levelno == logging.INFO
    assert "client.call('stats', ...) reaches the service" in record.getMessage()
    help_text = pydoc.render_doc(type(made), renderer=pydoc.plaintext)
    assert "stats (call it as client.call('stats', …))" in help_text
    assert "close (call it as client.call('close', …))" in help_text
    caplog.clear()
    kind(service)
    assert not caplog.records


@pytest.mark.parametrize('kind', CLIENTS)
def test_call_reaches_a_hidden_method(kind, tmp_path, opened):
    """`call` calls a method of the service that an attribute of the client hides."""

    class Handler:
        def stats(self):
            return 1

        def close(self):
            return 2

        def fine(self):
            return 3

    (tmp_path / 'hiding.thrift').write_text(HIDING)
    service = load(tmp_path / 'hiding.thrift').Hiding
    with serve(service, Handler()) as server:
        client = opened(kind(service, server.address))
        assert [client.call(name) for name in ('stats', 'close', 'fine')] == [1, 2, 3]
        assert client.fine() == 3
