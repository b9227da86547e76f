"""Measurements that need a process of their own: `python -m bench.child NAME JSON-ARGUMENTS`.

It prints the dict that the function NAME returns as JSON.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

from bench.fleet import ROOT

IMPORTS = {
    'thrift': 'import thrift.protocol.TBinaryProtocol, thrift.protocol.TCompactProtocol, '
    'thrift.transport.TSocket, thrift.transport.TTransport',
    'thrift_client': 'import thrift_client',
    # Names are imported when they are used: this is what a program with one client pays.
    'client': 'from thrift_client import SimpleClient',
}


def ask(name: str, **arguments: Any) -> dict[str, Any]:
    """Run the function `name` in a new process and return its dict."""
    command = [sys.executable, '-m', 'bench.child', name, json.dumps(arguments)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def import_cost(what: str, compiled: str) -> float:
    """Return the processor time, in seconds, of an import in a new interpreter.

    `compiled` is a folder for byte code, which a checkout may not have.
    """
    code = f'import time; t = time.process_time(); {IMPORTS[what]}; '
    code += 'print(time.process_time() - t)'
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        env=environment | {'PYTHONPYCACHEPREFIX': compiled},
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(result.stdout)


def _largest_resident() -> int:
    """Return the most memory that this process has had resident, in bytes.

    getrusage would include the parent's memory from before the exec.
    """
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) * 1024


def peak_memory(client: str, port: int, framed: bool, size: int, traced: bool) -> dict[str, Any]:
    """Fetch `size` bytes; `peak` is the most memory that this took, in bytes.

    If `traced`, it is the memory that Python allocated, otherwise the growth of the process.
    """
    from bench.contestants import HOST, Wire, bench_service, generated_client

    if client == 'generated client':
        caller, _ = generated_client(port, Wire('binary', framed))
    else:
        from thrift_client import SimpleClient

        caller = SimpleClient(bench_service, HOST, port, frame=framed)
    caller.getk('key')
    gc.collect()
    if not traced:
        before = _largest_resident()
        caller.blob(size)
        return {'peak': _largest_resident() - before}
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    caller.blob(size)
    return {'peak': tracemalloc.get_traced_memory()[1] - before}


def unused_client(number: int) -> dict[str, Any]:
    """Create clients without using them; `each` is the memory of one, in bytes."""
    from bench_if import bench_service

    from thrift_client import SimpleClient

    first = SimpleClient(bench_service, '127.0.0.1', 9090)  # creates the service's class
    clients: list[Any] = [None] * number
    gc.collect()
    tracemalloc.start()
    for index in range(number):
        clients[index] = SimpleClient(bench_service, '127.0.0.1', 9090)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    first.close()
    return {'each': taken / number}


def made_and_closed(number: int, port: int) -> dict[str, Any]:
    """Create and close clients and pools, use a fifth of them, and return what is left."""
    from bench_if import bench_service

    from thrift_client import SimpleClient, ThreadedHashClient

    def one(index: int) -> Any:
        if index % 2:
            client = SimpleClient(bench_service, '127.0.0.1', port)
        else:
            client = ThreadedHashClient(bench_service)
            client.add_server('127.0.0.1', port)
        if index % 10 < 2:
            client.getk('key')
            if not index % 2:
                client.all.keys()
        client.close()
        return client

    one(0), one(1)
    gc.collect()
    descriptors = Path('/proc/self/fd')
    sockets = len(list(descriptors.iterdir()))
    threads = threading.active_count()
    began = time.perf_counter()
    left = [weakref.ref(one(index)) for index in range(number)]
    took = time.perf_counter() - began
    gc.collect()
    return {
        'sockets': len(list(descriptors.iterdir())) - sockets,
        'threads': threading.active_count() - threads,
        'references': sum(reference() is not None for reference in left),
        'each': took / number,
    }


def main() -> None:
    """Run the function that the command line names."""
    functions = {each.__name__: each for each in (peak_memory, unused_client, made_and_closed)}
    _, name, arguments = sys.argv
    print(json.dumps(functions[name](**json.loads(arguments))))


if __name__ == '__main__':
    main()
