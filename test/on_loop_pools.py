"""The asyncio pools behind the methods of the blocking ones, so that one test runs with both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator

from on_loop import OnLoop
from thrift_client import SimpleClient
from thrift_client.aio import AsyncSimpleClient, AsyncThriftPool

_END = object()


class PoolOnLoop(OnLoop):
    """A pool of `thrift_client.aio` whose calls wait for their results.

    All its methods run on its loop. Its servers, in responses too, are the pool's own: `waited` is
    for calls on one of them. `close` closes the pool alone, and the loop goes on; leaving the
    context ends the loop, too, unless it is a view.
    """

    def __getattr__(self, name):
        return self._faced(getattr(self._client, name))

    def __len__(self):
        return len(self._client)

    def __iter__(self):
        return iter(self._client)

    def __contains__(self, server):
        return server in self._client

    def with_options(self, **options):
        """Make a view of the pool on the same loop."""
        return self._waiting(self._client.with_options)(**options)

    def pinned(self):
        """Pin a connection: leaving the context of the view ends that alone."""
        view = object.__new__(_PinnedOnLoop)
        view.__dict__.update(self.__dict__, _client=self._client.pinned())
        return view

    def close(self):
        """Close the pool and leave the loop running."""
        self._wait(self._client.close())

    def __exit__(self, *exc_info):
        if self._is_view:
            self.close()
        else:
            super().close()

    def _faced(self, found):
        """Return what a blocking pool has in the place of a value of the asyncio pool."""
        if found is self._client:
            return self
        if isinstance(found, AsyncThriftPool):
            other = object.__new__(PoolOnLoop)
            other.__dict__.update(self.__dict__, _client=found, _is_view=True)
            return other
        if callable(found) and not inspect.isroutine(found):  # a method of the service
            return _MethodOnLoop(found, self._waiting(found), self._faced)
        if isinstance(found, asyncio.Task):
            return asyncio.run_coroutine_threadsafe(_result(found), self._loop)
        if isinstance(found, AsyncIterator):
            return self._iterated(found)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, function):
        async def call_on_loop(args, kwargs):
            result = function(*args, **kwargs)
            begun = isinstance(result, asyncio.Task)  # by `submit`, which doesn't wait
            return await result if inspect.isawaitable(result) and not begun else result

        def call(*args, **kwargs):
            return self._faced(self._wait(call_on_loop(args, kwargs)))

        return call

    def _iterated(self, found):
        try:
            while (item := self._wait(_next(found))) is not _END:
                yield item
        finally:
            self._wait(found.aclose())


class ClientOnLoop(PoolOnLoop):
    """The same for a client of one server."""

    def with_options(self, **options):
        """Make a view of the client on the same loop."""
        return self._view(self._client.with_options(**options))


class _PinnedOnLoop(PoolOnLoop):
    """What `pinned` returns."""

    def with_options(self, **options):
        """Make a view of the view on the same loop."""
        view = object.__new__(_PinnedOnLoop)
        view.__dict__.update(self.__dict__, _client=self._client.with_options(**options))
        return view

    def __exit__(self, *exc_info):
        self.close()


class _MethodOnLoop:
    """A method of the service that waits for its result, with its own attributes."""

    def __init__(self, method, call, faced):
        self._method = method
        self._call = call
        self._faced = faced

    def __call__(self, *args, **kwargs):
        return self._call(*args, **kwargs)

    def __getattr__(self, name):
        return self._faced(getattr(self._method, name))


async def _result(task):
    return await task


async def _next(iterator):
    # Asked for on the loop, which then knows the generator and can close it.
    return await anext(iterator, _END)


def made(kind, service, *args, **options):
    """Make a pool or client of a kind, an asyncio one behind the methods of a blocking one."""
    client = kind(service, *args, **options)
    if isinstance(client, AsyncThriftPool):
        return PoolOnLoop(client)
    return ClientOnLoop(client) if isinstance(client, AsyncSimpleClient) else client


def bare(pool):
    """Return the pool itself, blocking or asyncio."""
    return pool._client if isinstance(pool, PoolOnLoop) else pool


def single(kind):
    """Return the type of the clients in pools of a kind."""
    return AsyncSimpleClient if issubclass(kind, AsyncThriftPool) else SimpleClient


def waited(pool, result):
    """Return the result of a call on one of the pool's servers, waiting for it on asyncio."""
    return pool._wait(result) if inspect.isawaitable(result) else result
