"""`CircuitBreaker(check=)`: a check in the background finds out when an ejected server is back."""

import asyncio
import contextlib
import itertools
import logging
import threading
import time

import pytest

from ground.interrupts import Injector
from on_loop_pools import made, waited
from policy.conftest import name
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    RetryPolicy,
    SimpleClient,
    errors,
    events,
)
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncSimpleClient
from thrift_client.testing.behaviours import Behaviour, answer, close, silence

ECHO = answer(lambda args: getattr(args, 'key', 'pong'))
KINDS = (SimpleClient, BalancedClient, HashClient)
AIO_KINDS = (AsyncSimpleClient, AsyncBalancedClient, AsyncHashClient)
#: What the thread or task is called.
NAME = 'thrift_client checks'
NO_RETRY = RetryPolicy(attempts=1)
POOLS = (BalancedClient, HashClient, AsyncBalancedClient, AsyncHashClient)


class Switch:
    """The script of a server that answers while it is `good`, and else closes."""

    def __init__(self, bad=None):
        self.good = True
        self._bad = bad or close()

    def __call__(self):
        return Behaviour(self._act, reads_request=False)

    def _act(self, exchange):
        (ECHO if self.good else self._bad).act(exchange)


def breaker(**options):
    """A breaker that ejects at the first failure and checks often."""
    return CircuitBreaker(**{'failures': 1, 'check': 'ping', 'check_every': 30, **options})


def checkers():
    """The names of the threads that check."""
    return [thread.name for thread in threading.enumerate() if thread.name == NAME]


def wait_until(condition, seconds=5.0):
    """Wait for what a background thread does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it did not happen'
        time.sleep(0.002)


@pytest.fixture(params=['thread', 'task'])
def ejecting(request, closing, fault_server):
    """Make a client of a server with a switch, and have the server ejected."""

    def make(switch, **options):
        server = fault_server(test_service, switch())
        kind = SimpleClient if request.param == 'thread' else AsyncSimpleClient
        client = closing(
            made(
                kind, test_service, server.address, timeout=2000,
                circuit_breaker=breaker(**options),
            )
        )
        switch.good = False
        with pytest.raises(errors.ThriftClientError):
            client.getk('fault')
        assert client.stats().ejected
        return server, client

    return make


def test_no_call_is_a_probe_and_the_check_restores_the_server(ejecting):
    """While it is ejected no call reaches it, however long that lasts."""
    switch = Switch()
    server, client = ejecting(switch, eject=1, max_eject=1)
    wait_until(lambda: sum(each.method == 'ping' for each in server.ledger.executions) >= 3)
    with pytest.raises(errors.CircuitOpen):
        client.getk('probe')
    assert server.ledger.count('probe') == 0
    switch.good = True
    wait_until(lambda: not client.stats().ejected)
    assert client.getk('k') == 'k'


def test_it_is_in_no_figures_and_no_request_log(closing, fault_server, tmp_path):
    """Calls, errors, connections and the log are those of the user's calls."""
    switch, log, seen = Switch(), tmp_path / 'requests', []
    server = fault_server(test_service, switch())
    client = closing(
        SimpleClient(
            test_service, server.address, circuit_breaker=breaker(), log_filename=str(log),
            listeners=[seen.append],
        )
    )
    switch.good = False
    with pytest.raises(errors.ConnectionLost):
        client.getk('k')
    before, count = client.stats(), len(seen)
    wait_until(lambda: len(seen) > count + 3)
    assert client.stats() == before
    assert len(log.read_text().splitlines()) == 1
    switch.good = True
    wait_until(lambda: isinstance(seen[-1], events.ServerRestored))
    checked = seen[count:-1]
    assert {type(event) for event in checked} == {events.ServerChecked}
    assert [event.healthy for event in checked] == [False] * (len(checked) - 1) + [True]
    assert checked[-1].error is None
    assert isinstance(checked[0].error, errors.ConnectionLost)
    assert client.stats().calls == 1


@pytest.mark.parametrize('kind', [BalancedClient, HashClient], ids=name)
def test_one_thread_for_each_pool_and_only_while_a_server_is_ejected(kind, closing, fault_server):
    """None before, none once all are back, none after close()."""
    switches = [Switch(silence()) for _ in range(4)]
    servers = [fault_server(test_service, switch()) for switch in switches]
    pool = closing(
        kind(
            test_service, servers=[server.address for server in servers], timeout=200,
            circuit_breaker=breaker(max_share=1),
        )
    )
    for server in pool.servers:
        assert server.getk('k') == 'k'
    assert not checkers()
    for switch, server in list(zip(switches, pool.servers, strict=True))[:3]:
        switch.good = False
        with pytest.raises(errors.CallTimeout):
            server.getk('fault')
    assert [server.stats().ejected for server in pool.servers] == [True, True, True, False]
    assert len(checkers()) == 1
    for switch in switches:
        switch.good = True
    wait_until(lambda: not any(server.stats().ejected for server in pool.servers))
    wait_until(lambda: not checkers())
    switches[0].good = False
    with pytest.raises(errors.CallTimeout):
        pool.servers[0].getk('fault')
    assert len(checkers()) == 1
    pool.close()
    wait_until(lambda: not checkers(), 0.5)


@pytest.mark.parametrize('kind', AIO_KINDS, ids=name)
def test_one_task_for_each_client_or_pool_and_none_after_close(kind, fault_server):
    """The same on asyncio."""
    switch = Switch(silence())
    server = fault_server(test_service, switch())

    def tasks():
        return [task for task in asyncio.all_tasks() if task.get_name() == NAME]

    async def run():
        where = {'host': server.address} if kind is AsyncSimpleClient else {
            'servers': [server.address, server.address.replace('127.0.0.1', 'localhost')]
        }  # fmt: skip
        options = {'timeout': 200, 'circuit_breaker': breaker(max_share=1)}
        async with kind(test_service, **where, **options) as client:
            for one in getattr(client, 'servers', [client]):
                await one.getk('k')
            assert not tasks()
            for _ in range(2):
                switch.good = False
                for one in getattr(client, 'servers', [client])[:1]:
                    with pytest.raises(errors.CallTimeout):
                        await one.getk('fault')
                assert len(tasks()) == 1
                switch.good = True
                async with asyncio.timeout(5):
                    await asyncio.gather(*tasks())  # which end once the server is back
            switch.good = False
            with pytest.raises(errors.CallTimeout):
                await getattr(client, 'servers', [client])[0].getk('fault')
        assert not tasks()

    asyncio.run(asyncio.wait_for(run(), 20))


VERDICTS = {
    'raises': lambda: 1 // 0,
    'False': lambda: False,
    'None': lambda: None,
    'coroutine': lambda: asyncio.sleep(0),
}


@pytest.mark.parametrize('verdict', VERDICTS)
def test_a_function_decides(verdict, closing, fault_server):
    """One that raises or returns False or a coroutine doesn't say that the server is healthy."""
    decided = VERDICTS[verdict]
    server = fault_server(test_service, [close(), ECHO])
    client = closing(
        SimpleClient(
            test_service, server.address,
            circuit_breaker=breaker(check=lambda view: view.ping() and decided()),
        )
    )
    with pytest.raises(errors.ConnectionLost):
        client.getk('k')
    server.ledger.wait_for(4, 5000) if verdict != 'None' else wait_until(
        lambda: not client.stats().ejected
    )
    assert client.stats().ejected is (verdict != 'None')


def test_what_a_function_raises_is_logged_once(closing, fault_server, caplog):
    """An exception of the function is logged once, not at every check."""
    server = fault_server(test_service, [close(), ECHO])

    def check(view):
        view.ping()
        raise LookupError('a mistake')

    with caplog.at_level(logging.WARNING):
        client = closing(
            SimpleClient(test_service, server.address, circuit_breaker=breaker(check=check))
        )
        with pytest.raises(errors.ConnectionLost):
            client.getk('k')
        server.ledger.wait_for(5, 5000)
        client.close()
    assert sum(bool(record.exc_info) for record in caplog.records) == 1


def _ends_thread(_view):
    raise SystemExit


async def _ends_task(_view):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize(
    ('kind', 'end'),
    [(SimpleClient, _ends_thread), (HashClient, _ends_thread)]
    + [(kind, _ends_task) for kind in AIO_KINDS],
    ids=lambda value: value.__name__,
)
def test_checks_begin_again_after_their_thread_or_task_has_ended(
    kind, end, closing, fault_server
):
    """Until then a call is the probe, and its failure has the server checked again."""
    switch, checks = Switch(), [end]
    server, other = fault_server(test_service, switch()), fault_server(test_service, ECHO)
    where = {'servers': [server.address, other.address]}
    if kind in (SimpleClient, AsyncSimpleClient):
        where = {'host': server.address}
    check = lambda view: checks.pop()(view) if checks else view.ping()  # noqa: E731 - short
    policy = breaker(check=check, eject=20, max_eject=20)
    client = closing(made(kind, test_service, **where, circuit_breaker=policy))
    one = client.servers[0] if 'servers' in where else client

    def reaches_server():
        with pytest.raises((errors.CircuitOpen, errors.ConnectionLost)) as caught:
            waited(client, one.getk('fault'))
        return caught.type is errors.ConnectionLost

    switch.good = False
    assert reaches_server()
    wait_until(lambda: not checks)
    wait_until(reaches_server)
    assert one.stats().ejected
    switch.good = True
    wait_until(lambda: not one.stats().ejected)
    assert waited(client, one.getk('k')) == 'k'


@pytest.mark.parametrize('kind', AIO_KINDS, ids=name)
def test_a_check_may_raise_what_ended_another_task(kind, closing, fault_server):
    """A CancelledError of the function's own is a failed check, as any other exception."""
    switch, cancelled = Switch(), []
    server, other = fault_server(test_service, switch()), fault_server(test_service, ECHO)
    where = {'servers': [server.address, other.address]}
    if kind is AsyncSimpleClient:
        where = {'host': server.address}

    async def check(view):
        if len(cancelled) < 2:
            cancelled.append(view)
            raise asyncio.CancelledError  # of a task that the function has waited for
        return await view.ping()

    client = closing(made(kind, test_service, **where, circuit_breaker=breaker(check=check)))
    one = client.servers[0] if 'servers' in where else client
    switch.good = False
    with pytest.raises(errors.ConnectionLost):
        waited(client, one.getk('fault'))
    switch.good = True
    wait_until(lambda: not one.stats().ejected)
    assert len(cancelled) == 2


def test_a_hung_check_ends_with_the_client(closing, fault_server):
    """close() doesn't wait for it, and its connection closes."""
    switch = Switch(silence())
    server = fault_server(test_service, switch())
    client = closing(
        SimpleClient(
            test_service, server.address, timeout=100,
            circuit_breaker=breaker(check=lambda view: view.with_options(timeout=60000).ping()),
        )
    )
    switch.good = False
    with pytest.raises(errors.CallTimeout):
        client.getk('k')
    server.ledger.wait_for(2, 5000)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 0.5
    wait_until(lambda: not checkers(), 0.5)
    server.wait_open(0, 5000)


@pytest.mark.parametrize('kind', POOLS, ids=name)
@pytest.mark.parametrize('check', ['pin', 'getk'])
def test_the_method_must_exist_and_have_no_arguments(kind, check):
    """A wrong method is refused when the client or pool is made."""
    with pytest.raises(ValueError, match='check'):
        kind(test_service, circuit_breaker=CircuitBreaker(check=check))


def test_a_client_that_a_pool_was_lent_is_checked_after_it(closing, fault_server):
    """The pool's thread ends with the pool, and the client's own takes over."""
    switch = Switch()
    servers = [fault_server(test_service, switch()), fault_server(test_service, ECHO)]
    client = closing(SimpleClient(test_service, servers[0].address, circuit_breaker=breaker()))
    with HashClient(test_service, servers=[servers[1].address]) as pool:
        pool.add_server(server=client)
        switch.good = False
        with pytest.raises(errors.ConnectionLost):
            client.getk('k')
    assert client.stats().ejected
    switch.good = True
    wait_until(lambda: not client.stats().ejected)


def test_a_client_that_a_pool_was_lent_is_ejected_after_it(closing, fault_server):
    """The closed pool, which could not do without it, has no say any more."""
    server = fault_server(test_service, close())
    client = closing(
        SimpleClient(test_service, server.address, circuit_breaker=CircuitBreaker(failures=1))
    )
    with HashClient(test_service) as pool:
        pool.add_server(server=client)
    with pytest.raises(errors.ConnectionLost):
        client.getk('k')
    assert client.stats().ejected


def test_a_server_that_left_its_pool_is_probed_by_calls(closing, fault_server):
    """Nobody would end its checks."""
    switch = Switch()
    servers = [fault_server(test_service, switch()), fault_server(test_service, ECHO)]
    pool = closing(
        HashClient(
            test_service, servers=[server.address for server in servers],
            circuit_breaker=breaker(),
        )
    )
    client = pool.servers[0]
    switch.good = False
    with pytest.raises(errors.ConnectionLost):
        client.getk('k')
    pool.remove_server(client)
    wait_until(lambda: not checkers())
    switch.good = True
    wait_until(lambda: works(client))
    client.close()


@pytest.mark.parametrize('kind', POOLS, ids=name)
def test_a_server_that_returns_to_its_pool_is_checked_again(kind, closing, fault_server):
    """No call is its probe, although nothing checked it while it was in no pool."""
    switch, seen = Switch(), []
    where = [fault_server(test_service, script).address for script in (switch(), ECHO)]
    options = {'circuit_breaker': breaker(), 'listeners': [seen.append]}
    pool = closing(made(kind, test_service, servers=where, **options))
    client = pool.servers[0]
    switch.good = False
    wait_until(lambda: any(pool.getk(key).is_error() for key in 'abc'))
    assert client.stats().ejected
    pool.remove_server(client)
    pool.add_server(server=client)
    switch.good = True
    wait_until(lambda: not client.stats().ejected)
    assert any(isinstance(event, events.ServerChecked) and event.healthy for event in seen)


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('step', [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize('kind', [SimpleClient, HashClient], ids=name)
def test_a_signal_handler_ends_the_ejection(kind, step, closing, fault_server):
    """Wherever it raises, the server is checked, or else probed by calls, until it is back."""
    switch = Switch()
    servers = [fault_server(test_service, switch()), fault_server(test_service, ECHO)]
    where = (servers[0].address,) if kind is SimpleClient else ()
    more = {} if where else {'servers': [server.address for server in servers]}
    for at in itertools.count(1, step):
        switch.good = False
        client = closing(
            kind(
                test_service, *where, **more, listeners=[lambda event: None],
                circuit_breaker=breaker(eject=1, check_every=1),
            )
        )
        one = client if where else client.servers[0]
        injector = Injector(at, KeyboardInterrupt)
        with contextlib.suppress(KeyboardInterrupt, errors.ConnectionLost), injector:
            one.getk('fault')
        switch.good = True
        wait_until(lambda one=one: works(one))
        client.close()
        if injector.where is None:
            break
    assert at > 10


def works(client):
    """Whether a call of a client is let through."""
    try:
        return client.getk('k') == 'k'
    except errors.CircuitOpen:
        return False


@pytest.mark.parametrize('check', [None, 'ping'])
@pytest.mark.parametrize('kind', POOLS, ids=name)
def test_an_ejection_that_ends_because_the_pool_needs_the_server_is_told(
    kind, check, closing, fault_server, caplog
):
    """The others have left: at the next failed probe or check, the server gets calls again."""
    switch, seen = Switch(), []
    bad, other = fault_server(test_service, switch()), fault_server(test_service, ECHO)
    pool = closing(
        made(
            kind, test_service, servers=[bad.address, other.address], timeout=2000,
            circuit_breaker=breaker(check=check, eject=1, max_eject=1), retry=NO_RETRY,
            listeners=[lambda event: seen.append(type(event))],
        )
    )  # fmt: skip
    server = pool.servers[0]

    def fail():
        with pytest.raises(errors.ThriftClientError):
            waited(pool, server.getk('k'))

    switch.good = False
    for ejections in (1, 2):
        if ejections == 2:
            pool.add_server(other.address)
        fail()
        assert server.stats().ejected
        pool.remove_server(name=other.address)
        if check is None:
            wait_until(lambda: fail() or not server.stats().ejected)
        else:
            wait_until(lambda: not server.stats().ejected)
        wait_until(lambda: seen.count(events.ServerRestored) == ejections)  # noqa: B023
        begun = [record for record in caplog.records if record.message.endswith('is ejected')]
        assert len(begun) == ejections
    switch.good = True
    assert waited(pool, server.getk('k')) == 'k'
    assert seen.count(events.ServerRestored) == 2
