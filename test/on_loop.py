"""The asyncio clients behind the blocking ones' face, so that one test can put both to the test."""

from __future__ import annotations

import asyncio
import inspect
import threading


class OnLoop:
    """A client or pool of `thrift_client.aio` whose calls wait for their results.

    It lives on an event loop in a thread of its own, made by `new_loop`. A call that is
    interrupted is cancelled there, as a task is.
    """

    def __init__(self, client, new_loop=asyncio.new_event_loop):
        self._client = client
        self._loop = new_loop()
        self._trouble = []
        self._loop.set_exception_handler(lambda _, context: self._trouble.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def with_options(self, **options):
        """A view of the client on the same loop."""
        view = object.__new__(OnLoop)
        view.__dict__.update(self.__dict__, _client=self._client.with_options(**options))
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

    def close(self):
        """Close the client and end the loop; nothing may have gone wrong unnoticed there."""
        if self._loop.is_closed():
            return
        try:
            self._wait(self._client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        assert not self._trouble

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
