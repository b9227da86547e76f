"""Threads that call a pool while its servers come, go, die and return, in any order.

Whatever happens: no wrong value, no call past its timeout, and once all calls are over nothing
is held and each healthy server gets calls again.
"""

from __future__ import annotations

import ctypes
import threading
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from on_loop import OnLoop
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    deadline,
    errors,
)
from thrift_client.aio import AsyncBalancedClient, AsyncReplicatedClient
from thrift_client.testing import FaultServer
from thrift_client.testing.behaviours import answer, close, delay, silence

GOOD = answer(lambda args: args.key)
BEHAVIOURS = {
    'answers': GOOD,
    'answers late': delay(15) + GOOD,
    'closes after': GOOD + close(),
    'closes': close(),
    'is silent': silence(),
}
TIMEOUT_MS = 60
LOADED_S = 1.0  # a machine under load
SERVERS = 3
OPTIONS = {
    'timeout': TIMEOUT_MS,
    'max_connections': 2,
    'max_age': 50,
    'circuit_breaker': CircuitBreaker(failures=2, eject=10, max_eject=20),
}


class Interrupt(Exception):
    """An exception from outside."""


class Caller(threading.Thread):
    """Makes calls in a thread of its own until told to stop, and keeps what was wrong."""

    def __init__(self, pool, number, how):
        super().__init__(daemon=True)
        self._pool, self._number, self._how = pool, number, how
        self.over = False
        self.wrong = []

    def run(self):
        """Call until told to stop, through any number of exceptions from outside."""
        n = 0
        while not self.over:
            try:
                n += 1
                self._call(f'{self._number} {n}')
            except Interrupt:
                pass

    def _call(self, key):
        began = time.monotonic()
        try:
            if self._how == 'deadline':
                with deadline(TIMEOUT_MS / 2):
                    got = self._pool.getk(key)
            elif self._how == 'view':
                got = self._pool.with_options(timeout=TIMEOUT_MS / 2).getk(key)
            else:
                got = self._pool.getk(key)
        except errors.NoServersError:
            return
        late = time.monotonic() - began - TIMEOUT_MS / 1000
        if late > LOADED_S:
            self.wrong.append(f'{key}: {late:.3f} s late')
        for response in got if isinstance(got, list) else [got]:
            known = isinstance(response.exception, errors.ThriftClientError | None)
            if not known or (response.exception is None and response.value() != key):
                self.wrong.append(f'{key}: {response!r}')

    def throw(self):
        """Have an exception raised in the thread, wherever it is."""
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        throw(ctypes.c_ulong(self.ident), ctypes.py_object(Interrupt))


def made(kind):
    """The pool of a machine, without servers."""
    if kind is AsyncBalancedClient or kind is AsyncReplicatedClient:
        return OnLoop(kind(test_service, **OPTIONS))
    more = {'hedge': Hedge(after=5), 'idempotent': True} if kind is BalancedClient else {}
    pool = kind(test_service, **OPTIONS, **more)
    if kind is HashClient:
        pool.getk.set_hash(lambda key: key)
    return pool


class Pool(RuleBasedStateMachine):
    """One pool, its servers, and the threads that call it."""

    kind = HashClient

    def __init__(self):
        super().__init__()
        self.behaviours = ['answers'] * SERVERS
        self.servers = [self._start(i, 0) for i in range(SERVERS)]
        self.ports = [server.port for server in self.servers]
        self.pool = made(self.kind)
        self.members = set()
        self.callers = []
        for i in range(2):
            self.add(i)

    def _start(self, i, port):
        return FaultServer(
            test_service, lambda _: BEHAVIOURS[self.behaviours[i]], port=port
        ).start()

    index = st.integers(0, SERVERS - 1)

    @rule(i=index)
    def add(self, i):
        """A server is added."""
        if i not in self.members:
            self.members.add(i)
            self.pool.add_server(f'127.0.0.1:{self.ports[i]}', name=f's{i}')

    @rule(i=index)
    def remove(self, i):
        """A server is removed, while calls to it run."""
        if i in self.members and len(self.members) > 1:
            self.members.remove(i)
            self.pool.remove_server(name=f's{i}')

    @rule(i=index)
    def disable_for_a_moment(self, i):
        """A server is disabled and enabled again."""
        if i in self.members:
            server = self.pool.get_server(name=f's{i}')
            server.disable()
            time.sleep(0.005)
            server.enable()

    @rule(i=index, behaviour=st.sampled_from(sorted(BEHAVIOURS)))
    def change(self, i, behaviour):
        """A server does something else from now on."""
        self.behaviours[i] = behaviour

    @rule(i=index)
    def restart(self, i):
        """A server is killed, with its connections, and started again."""
        self.servers[i].close()
        self.servers[i] = self._start(i, self.ports[i])

    @rule(how=st.sampled_from(['timeout', 'view', 'deadline']))
    @precondition(lambda self: len(self.callers) < 5)
    def begin(self, how):
        """A thread begins to call."""
        if isinstance(self.pool, OnLoop):
            how = 'view'
        self.callers.append(Caller(self.pool, len(self.callers), how))
        self.callers[-1].start()

    @rule(data=st.data())
    @precondition(lambda self: self.callers)
    def interrupt(self, data):
        """An exception from outside comes into one of the threads."""
        data.draw(st.sampled_from(self.callers)).throw()

    @rule(ms=st.integers(1, 30))
    def go_on(self, ms):
        """Calls run for a moment."""
        time.sleep(ms / 1000)

    @rule()
    def settle(self):
        """All threads end, and whatever they did, nothing is held; each server gets calls again."""
        for caller in self.callers:
            caller.over = True
        for caller in self.callers:
            caller.join(10)
            assert not caller.is_alive(), 'a call hangs'
            assert not caller.wrong, caller.wrong
        self.callers = []
        self.behaviours = ['answers'] * SERVERS
        for i in sorted(self.members):
            server = self.pool.get_server(name=f's{i}')
            self._is_well(server)

    def _is_well(self, server):
        until = time.monotonic() + 5
        while True:
            got = self._ping(server)
            stats = server.stats()
            if got == 'well' and (stats.busy, stats.waiting) == (0, 0) and not stats.ejected:
                break
            assert time.monotonic() < until, f'{got!r} {stats}'
            time.sleep(0.005)
        assert stats.opened - stats.discarded == stats.idle

    def _ping(self, server):
        try:
            got = server.with_options(timeout=2000).getk('well')
            return self.pool._wait(got) if isinstance(self.pool, OnLoop) else got
        except errors.ThriftClientError as exc:
            return exc

    def teardown(self):
        """End everything, with the checks of `settle`."""
        try:
            self.settle()
        finally:
            self.pool.close()
            for server in self.servers:
                server.close()


KINDS = (HashClient, ReplicatedClient, BalancedClient, AsyncBalancedClient, AsyncReplicatedClient)


def run(kind, examples, steps):
    """Run the machine in so many orders of so many steps."""
    machine = type('Pool', (Pool,), {'kind': kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize('kind', KINDS)
def test_a_few_orders(kind):
    """Of what happens to a pool."""
    run(kind, 4, 20)


@pytest.mark.long
@pytest.mark.parametrize('kind', KINDS)
def test_many_orders(kind):
    """The same for longer."""
    run(kind, 60, 50)
