"""Threads or tasks that call a pool while its servers come, go, die and return, in any order.

Whatever happens: no wrong value, no call much past its timeout, and once all calls are over
nothing is held and each healthy server gets calls again.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import pkgutil
import sys
import threading
import time
import traceback

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import thrift_client
from stalls import Stalls
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
MOST_LATE_S = 0.1  # beyond what the machine itself was late
SERVERS = 3
CALLERS = 5
OPTIONS = {
    'timeout': TIMEOUT_MS,
    'max_connections': 2,
    'max_age': 50,
    'circuit_breaker': CircuitBreaker(failures=2, eject=10, max_eject=20),
}


class Interrupt(Exception):
    """An exception from outside."""


class Calls:
    """What the calls of one caller came to, and what of it was wrong."""

    def __init__(self, stalls):
        self._stalls = stalls
        self.wrong = []

    def check(self, key, began, got):
        """Look at what a call that began then has returned."""
        late = time.monotonic() - began - TIMEOUT_MS / 1000
        if late > MOST_LATE_S:
            late -= self._stalls.since(began)
        if late > MOST_LATE_S:
            self.wrong.append(f'{key}: {late:.3f} s late')
        for response in got if isinstance(got, list) else [got]:
            known = isinstance(response.exception, errors.ThriftClientError | None)
            if not known or (response.exception is None and response.value() != key):
                self.wrong.append(f'{key}: {response!r}')


class Threads:
    """Calls of blocking clients are made in threads, where exceptions come in anywhere."""

    def do(self, function, *args, **kwargs):
        """Call a function."""
        return function(*args, **kwargs)

    def begin(self, pool, number, how, calls):
        """Have a thread begin to call."""
        caller = Thread(pool, number, how, calls)
        caller.start()
        return caller

    def close(self, pool):
        """End it all."""
        pool.close()


class Thread(threading.Thread):
    """Makes calls in a thread of its own until told to stop."""

    def __init__(self, pool, number, how, calls):
        super().__init__(daemon=True)
        self._pool, self._number, self._how = pool, number, how
        self.over = False
        self.calls = calls

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
            got = []
        self.calls.check(key, began, got)

    def interrupt(self):
        """Have an exception raised in the thread, wherever it is."""
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        throw(ctypes.c_ulong(self.ident), ctypes.py_object(Interrupt))

    def ended(self):
        """Wait for its end; returns whether it came."""
        self.join(10)
        return not self.is_alive()

    def stack(self):
        """Return where it is."""
        return ''.join(traceback.format_stack(sys._current_frames()[self.ident]))


class Tasks:
    """Calls of asyncio clients are made in tasks of one loop, which are cancelled anywhere."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._trouble = []
        self.loop.set_exception_handler(lambda _, context: self._trouble.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def do(self, function, *args, **kwargs):
        """Call a function on the loop, and wait for what it returns."""

        async def call():
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def begin(self, pool, number, how, calls):
        """Have a task begin to call."""
        return self.do(Task, self, pool, number, how, calls)

    def close(self, pool):
        """End it all; nothing may have gone wrong unnoticed on the loop."""
        try:
            self.do(pool.close)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
        assert not self._trouble, self._trouble


class Task:
    """Makes calls in a task of its own until told to stop."""

    def __init__(self, tasks, pool, number, how, calls):
        self._tasks, self._pool, self._number, self._how = tasks, pool, number, how
        self.over = False
        self.calls = calls
        self._task = tasks.loop.create_task(self._run())

    async def _run(self):
        n = 0
        while not self.over:
            try:
                n += 1
                await self._call(f'{self._number} {n}')
                await asyncio.sleep(0)  # a call that fails at once lets nothing else run
            except asyncio.CancelledError:
                self._task.uncancel()

    async def _call(self, key):
        began = time.monotonic()
        try:
            if self._how == 'deadline':
                with deadline(TIMEOUT_MS / 2):
                    got = await self._pool.getk(key)
            elif self._how == 'view':
                got = await self._pool.with_options(timeout=TIMEOUT_MS / 2).getk(key)
            else:
                got = await self._pool.getk(key)
        except errors.NoServersError:
            got = []
        self.calls.check(key, began, got)

    def interrupt(self):
        """Cancel the task, wherever it is."""
        self._tasks.loop.call_soon_threadsafe(self._task.cancel)

    def ended(self):
        """Wait for its end; returns whether it came."""
        try:
            self._tasks.do(asyncio.wait_for, self._task, 10)
        except TimeoutError:
            return False
        return True

    def stack(self):
        """Return where it is."""
        return f'{self._task.get_stack()}'


def made(kind):
    """The pool of a machine, without servers."""
    more = {'hedge': Hedge(after=5), 'idempotent': True} if kind is BalancedClient else {}
    pool = kind(test_service, **OPTIONS, **more)
    if kind is HashClient:
        pool.getk.set_hash(lambda key: key)
    return pool


@pytest.fixture
def any_interrupt(monkeypatch):
    """Expect what an exception from outside does where nothing can be done about it.

    It is lost in a finalizer. A socket that it came just behind has no name yet, and is closed
    as garbage, with a warning. An import that it ends fails in all threads that wait for it, so
    everything is imported before.
    """
    for module in pkgutil.walk_packages(thrift_client.__path__, 'thrift_client.'):
        if '.cli' not in module.name and '__main__' not in module.name:
            importlib.import_module(module.name)
    hook = sys.unraisablehook

    def unraisable(unraisable):
        text = str(unraisable.exc_value)
        unnamed = text.startswith('unclosed <socket') and 'raddr' not in text
        if not unnamed and not isinstance(unraisable.exc_value, Interrupt):
            hook(unraisable)

    monkeypatch.setattr(sys, 'unraisablehook', unraisable)


class Pool(RuleBasedStateMachine):
    """One pool, its servers, and the threads or tasks that call it."""

    kind = HashClient
    stalls = None

    def __init__(self):
        super().__init__()
        self.behaviours = ['answers'] * SERVERS
        self.servers = [self._start(i, 0) for i in range(SERVERS)]
        self.ports = [server.port for server in self.servers]
        self.callers_of = Tasks() if self.kind.__name__.startswith('Async') else Threads()
        self.do = self.callers_of.do
        self.pool = self.do(made, self.kind)
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
            self.do(self.pool.add_server, f'127.0.0.1:{self.ports[i]}', name=f's{i}')

    @rule(i=index)
    def remove(self, i):
        """A server is removed, while calls to it run."""
        if i in self.members and len(self.members) > 1:
            self.members.remove(i)
            self.do(self.pool.remove_server, name=f's{i}')

    @rule(i=index)
    def disable_for_a_moment(self, i):
        """A server is disabled and enabled again."""
        if i in self.members:
            server = self.pool.get_server(name=f's{i}')
            self.do(server.disable)
            time.sleep(0.005)
            self.do(server.enable)

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
    @precondition(lambda self: len(self.callers) < CALLERS)
    def begin(self, how):
        """A thread or task begins to call."""
        self.callers.append(
            self.callers_of.begin(self.pool, len(self.callers), how, Calls(self.stalls))
        )

    @rule(which=st.integers(0, CALLERS - 1))
    @precondition(lambda self: self.callers)
    def interrupt(self, which):
        """An exception from outside comes into one of the callers."""
        self.callers[which % len(self.callers)].interrupt()

    @rule(ms=st.integers(1, 30))
    def go_on(self, ms):
        """Calls run for a moment."""
        time.sleep(ms / 1000)

    @rule()
    def settle(self):
        """All callers end, and whatever they did, nothing is held; each server gets calls again."""
        for caller in self.callers:
            caller.over = True
        for caller in self.callers:
            assert caller.ended(), f'a call hangs:\n{caller.stack()}'
            assert not caller.calls.wrong, caller.calls.wrong
        self.callers = []
        self.behaviours = ['answers'] * SERVERS
        for i in sorted(self.members):
            server = self.pool.get_server(name=f's{i}')
            self._is_well(server)

    def _is_well(self, server):
        until = time.monotonic() + 5
        while True:
            got = self._ping(server)
            stats = self.do(server.stats)
            if got == 'well' and (stats.busy, stats.waiting) == (0, 0) and not stats.ejected:
                break
            assert time.monotonic() < until, f'{got!r} {stats}'
            time.sleep(0.005)
        assert stats.opened - stats.discarded == stats.idle

    def _ping(self, server):
        try:
            return self.do(server.with_options(timeout=2000).getk, 'well')
        except errors.ThriftClientError as exc:
            return exc

    def teardown(self):
        """End everything, with the checks of `settle`."""
        try:
            self.settle()
        finally:
            self.callers_of.close(self.pool)
            for server in self.servers:
                server.close()


KINDS = (HashClient, ReplicatedClient, BalancedClient, AsyncBalancedClient, AsyncReplicatedClient)


def run(kind, examples, steps):
    """Run the machine in so many orders of so many steps."""
    with Stalls() as stalls:
        run_state_machine_as_test(
            type('Pool', (Pool,), {'kind': kind, 'stalls': stalls}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
                phases=[Phase.generate],  # the threads are different each time: it can't shrink
            ),
        )


@pytest.mark.parametrize('kind', KINDS)
def test_a_few_orders(kind, any_interrupt):
    """Random orders of what happens to a pool keep the rules."""
    run(kind, 4, 20)


@pytest.mark.long
@pytest.mark.parametrize('kind', KINDS)
def test_many_orders(kind, any_interrupt):
    """The same for longer."""
    run(kind, 60, 50)
