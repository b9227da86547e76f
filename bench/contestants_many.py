"""The contestants on many servers at once, and on many threads; see `bench.contestants`."""

import select
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench_if import bench_service

from bench.contestants import HOST, generated_client, getk, options_of, request_of
from bench.fleet import Fleet
from bench.harness import Contestant, calling


def bare_sockets(fleet: Fleet) -> Contestant:
    """Make the fan-out's floor: send all requests, then read the replies in order of arrival."""
    request = request_of(fleet.wire, lambda client: client.keys)
    connections = {}
    poll = select.epoll()
    for port in fleet.ports:
        connection = socket.create_connection((HOST, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)

    def call() -> None:
        for connection in connections.values():
            connection.send(request)
        missing = len(connections)
        while missing:
            for fd, _ in poll.poll():
                connections[fd].recv(4096)
                missing -= 1

    def close() -> None:
        poll.close()
        for connection in connections.values():
            connection.close()

    return calling('bare sockets', call, close)


def executor(fleet: Fleet, threads: int | None = None) -> Contestant:
    """Make a ThreadPoolExecutor over generated clients kept open.

    Its default number of threads is faster with servers that answer at once; slow servers need
    a thread each.
    """
    clients = [generated_client(port, fleet.wire) for port in fleet.ports]
    pool = ThreadPoolExecutor(threads)

    def call() -> None:
        futures = [pool.submit(client.keys) for client, _ in clients]
        for future in futures:
            future.result()

    def close() -> None:
        pool.shutdown()
        for _, connection in clients:
            connection.close()

    return calling('ThreadPoolExecutor', call, close)


def thread_per_call(fleet: Fleet) -> Contestant:
    """Make a thread and a connection for each call and server, as the original library does."""

    def one(port: int, replies: list[list[str]]) -> None:
        client, connection = generated_client(port, fleet.wire)
        replies.append(client.keys())
        connection.close()

    def call() -> None:
        replies: list[list[str]] = []
        threads = [threading.Thread(target=one, args=(port, replies)) for port in fleet.ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(replies) == len(fleet.ports)

    return calling('thread per call', call, lambda: None)


def pool_all(fleet: Fleet) -> Contestant:
    """Make `all` of a ThreadedHashClient."""
    from thrift_client import ThreadedHashClient

    pool = ThreadedHashClient(bench_service, **options_of(fleet.wire))

    def call() -> Sequence[Any]:
        return pool.all.keys()

    return _fan_out('pool.all', pool, call, fleet)


def replicated(fleet: Fleet) -> Contestant:
    """Make a ReplicatedClient, which uses only the caller's thread."""
    from thrift_client import ReplicatedClient

    pool = ReplicatedClient(bench_service, **options_of(fleet.wire))

    def call() -> Sequence[Any]:
        return pool.keys()

    return _fan_out('ReplicatedClient', pool, call, fleet)


def _fan_out(
    name: str, pool: Any, call: Callable[[], Sequence[Any]], fleet: Fleet
) -> Contestant:
    for port in fleet.ports:
        pool.add_server(HOST, port)
    for response in call():
        response.value()
    return calling(name, call, pool.close)


# One server and many threads. Here one call means one call on each thread.


def _on_threads(
    name: str, works: list[Callable[[], object]], close: Callable[[], object]
) -> Contestant:
    def run(number: int) -> None:
        together = threading.Barrier(len(works))

        def one(work: Callable[[], object]) -> None:
            together.wait()
            for _ in range(number):
                work()

        threads = [threading.Thread(target=one, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return Contestant(name, run, close)


def threads_with_a_client_each(fleet: Fleet, threads: int) -> Contestant:
    """Make threads that have a generated client each."""
    clients = [generated_client(fleet.port, fleet.wire) for _ in range(threads)]

    def close() -> None:
        for _, connection in clients:
            connection.close()

    return _on_threads('a generated client each', [getk(client) for client, _ in clients], close)


def threads_sharing_one_client(fleet: Fleet, threads: int) -> Contestant:
    """Make threads that share one SimpleClient."""
    from thrift_client import SimpleClient

    client = SimpleClient(bench_service, HOST, fleet.port, **options_of(fleet.wire))
    return _on_threads('one SimpleClient shared', [getk(client)] * threads, client.close)
