"""The asyncio clients behind the methods of the blocking ones, so that one test runs with both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thrift_client import (
    BalancedClient,
    HashClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedReplicatedClient,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)


class OnLoop:
    """A client or pool of `thrift_client.aio` whose calls wait for their results.

    It lives on an event loop in a thread of its own, made by `new_loop`. A call that is
    interrupted is cancelled there, as a task is.
    """

    _is_view = False

    def __init__(self, client, new_loop=asyncio.new_event_loop):
        self._client = client
        self._loop = new_loop()
        self._trouble = []
        self._loop.set_exception_handler(lambda _, context: self._trouble.append(context))
        self.thread = threading.Thread(target=self._loop.run_forever)
        self.thread.start()

    def __repr__(self):
        return repr(self._client)

    def with_options(self, **options):
        """Make a view of the client on the same loop."""
        return self._view(self._client.with_options(**options))

    def for_service(self, *args, **kwargs):
        """Make a view for another service on the same loop."""
        return self._view(self._client.for_service(*args, **kwargs))

    def _view(self, client):
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, _client=client, _is_view=True)
        return view

    def __getattr__(self, name):
        found = getattr(self._client, name)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, function):
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            return self._wait(result) if inspect.isawaitable(result) else result

        return call

    def _wait(self, awaitable):
        ended = threading.Event()

        async def await_it():
            try:
                return await awaitable
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(await_it(), self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait(5)
            raise

    def call_on_loop(self, method, *args):
        """Call a method that this class has itself."""
        return self._waiting(getattr(self._client, method))(*args)

    def close(self):
        """Close the client and end the loop; nothing may have gone wrong unnoticed there.

        A view leaves the loop running.
        """
        if self._loop.is_closed():
            return
        if self._is_view:
            self._wait(self._client.close())
            return
        try:
            self._wait(self._client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self.thread.join()
            self._loop.close()
        assert not self._trouble, self._trouble

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class OnOwnLoop(OnLoop):
    """The same on a loop that runs in the thread of each call, and only while one waits.

    So signal handlers run in the middle of a call, and a forked child can go on, on a new
    loop. What a handler raises leaves the loop; the calls that it left there are cancelled.
    """

    def __init__(self, client, new_loop=asyncio.new_event_loop):
        self._client = client
        self._new_loop = new_loop
        self._trouble = []
        self._begin()

    def _begin(self):
        self._loop = self._new_loop()
        self._loop.set_exception_handler(lambda _, context: self._trouble.append(context))

    def take_trouble(self):
        """Return the errors that the loop has reported, and clear them."""
        trouble, self._trouble[:] = list(self._trouble), []
        return trouble

    def forked(self):
        """Leave the parent's loop to it."""
        self._begin()

    def _wait(self, awaitable):
        async def await_it():
            return await awaitable

        try:
            return self._loop.run_until_complete(await_it())
        except BaseException:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(asyncio.sleep(0))  # which lets go of the exception
            raise

    def close(self):
        """Close the client and, unless it is a view, the loop."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        if not self._is_view:
            self._loop.close()
            assert not self._trouble


def _on_loop(kind):
    def make(*args, **options):
        return OnLoop(kind(*args, **options))

    return make


@dataclass(frozen=True)
class Face:
    """What makes the clients and pools of a test that runs with blocking and asyncio clients.

    Args:
        name: of the face, in the tests' ids.
        client: makes a client of one server.
        hash_pool: makes a pool that places calls by their keys.
        balanced: makes a pool in which any server can serve any call.
        fan_outs: make pools whose calls go to every server.
    """

    name: str
    client: Callable[..., Any]
    hash_pool: Callable[..., Any]
    balanced: Callable[..., Any]
    fan_outs: tuple[Callable[..., Any], ...]

    @property
    def fan_out(self):
        """The first of its fan-outs, for what holds for any."""
        return self.fan_outs[0]


BLOCKING = Face(
    'blocking',
    SimpleClient,
    HashClient,
    BalancedClient,
    (ReplicatedClient, ThreadedReplicatedClient),
)
ASYNCIO = Face(
    'asyncio',
    _on_loop(AsyncSimpleClient),
    _on_loop(AsyncHashClient),
    _on_loop(AsyncBalancedClient),
    (_on_loop(AsyncReplicatedClient),),
)
