"""Measure loaded services and thriftpy2's, compared with gen-py.

    python -m bench.idl [ROUNDS]

Each row is measured in processes of its own, one for each kind of service in turn, so that
other load on the machine affects all of them. A figure is the least CPU time of the rounds, in
microseconds. Needs the thrift compiler, and thriftpy2.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.TTransport import TMemoryBuffer

from thrift_client import SimpleClient, load
from thrift_client.testing import serve

IDL = """
enum Color { RED = 1, GREEN = 2, BLUE = 3 }
struct Row { 1: string name, 2: i64 id, 3: double price, 4: bool sold, 5: i32 count }
struct Tile { 1: string name, 2: Color color }
struct Rows { 1: list<Row> rows }
struct Tiles { 1: list<Tile> tiles }
struct Colors { 1: list<Color> colors }
service Bench {
  string echo(1: string text), Rows rows(), Tiles tiles(), Colors colors()
}
"""
KINDS = ('gen-py', 'loaded', 'thriftpy2')
ROWS = ('call', 'rows', 'tiles', 'colors', 'json write', 'json read', 'load')
ROUNDS = 5
MANY = 100_000


class Echo:
    """Serves the small call."""

    def echo(self, text: str) -> str:
        """Answer with the text."""
        return text


def modules(kind: str, folder: Path) -> tuple[object, object]:
    """A service and the module of its structs."""
    file = folder / 'bench_idl.thrift'
    if kind == 'loaded':
        module = load(file)
    elif kind == 'thriftpy2':
        import thriftpy2

        module = thriftpy2.load(str(file), 'bench_idl_thrift')
    else:
        sys.path.insert(0, str(folder))
        service = importlib.import_module('bench_idl.Bench')
        return service, importlib.import_module('bench_idl.ttypes')
    return module.Bench, module


def least(run, times: int) -> float:
    """The least CPU time of several runs, in microseconds."""
    found = []
    for _ in range(times):
        gc.collect()
        gc.disable()
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
        gc.enable()
    return min(found) * 1e6


def call(service: ModuleType) -> float:
    """A small call over a kept connection; the server's threads are in another process."""
    with (
        serve(service, Echo(), 'forking') as server,
        SimpleClient(service, server.address) as client,
    ):
        def run() -> None:
            for _ in range(1000):
                client.echo('text')

        run()
        return least(run, 15) / 1000


def decode(service: ModuleType, name: str, value: object, times: int) -> float:
    """A call with a large result, nearly all of whose cost is decoding."""
    handler = SimpleNamespace(**{name: lambda: value})
    with (
        serve(service, handler, 'forking') as server,
        SimpleClient(service, server.address) as client,
    ):
        run = getattr(client, name)
        run()
        return least(run, times)


def json(kind: str, types: object, row: str) -> float:
    """Write or read a struct of 200 structs over a protocol in Python; thriftpy2's have others."""
    if kind == 'thriftpy2':
        return float('nan')
    rows = types.Rows([types.Row('a name', i, 1.5, True, i) for i in range(200)])
    buffer = TMemoryBuffer()
    rows.write(TJSONProtocol(buffer))
    data = buffer.getvalue()
    if row == 'json write':
        return least(lambda: rows.write(TJSONProtocol(TMemoryBuffer())), 7)
    return least(lambda: types.Rows().read(TJSONProtocol(TMemoryBuffer(data))), 7)


def loading(kind: str, folder: Path) -> float:
    """Load 300 structs of five fields, and a service of 200 methods with its clients' table."""
    file = folder / 'bench_large.thrift'
    structs = '\n'.join(
        f'struct S{i} {{ 1: string a, 2: i64 b = {i}, 3: list<string> c, 4: Color d, '
        f'5: S{max(i - 1, 0)} e }}'
        for i in range(300)
    )
    methods = '\n'.join(f'S{i} m{i}(1: i32 a, 2: S{i} b, 3: Color c)' for i in range(200))
    file.write_text(f'enum Color {{ RED = 1 }}\n{structs}\nservice Large {{ {methods} }}')
    if kind == 'gen-py':
        compiled = ['thrift', '-nowarn', '-out', str(folder), '--gen', 'py', str(file)]
        subprocess.run(compiled, check=True)
        sys.path.insert(0, str(folder))
    began = time.process_time()
    if kind == 'gen-py':
        importlib.import_module('bench_large.Large')
    elif kind == 'loaded':
        _ = load(file).Large
    else:
        import thriftpy2

        thriftpy2.load(str(file), 'bench_large_thrift')
    return (time.process_time() - began) * 1e6


def measure(kind: str, row: str, folder: Path) -> float:
    """One figure, in this process."""
    if row == 'load':
        return loading(kind, folder)
    service, types = modules(kind, folder)
    if row == 'call':
        return call(service)
    if row.startswith('json'):
        return json(kind, types, row)
    value = {
        'rows': lambda: types.Rows([types.Row('name', i, 1.5, True, i) for i in range(MANY)]),
        'tiles': lambda: types.Tiles([types.Tile('name', i % 3 + 1) for i in range(MANY)]),
        'colors': lambda: types.Colors([i % 3 + 1 for i in range(MANY)]),
    }[row]()
    return decode(service, row, value, 7)


def compare(rounds: int) -> None:
    """Print a table of all rows; the last columns are shares of gen-py's."""
    shares = ''.join(f'{kind:>10}' for kind in KINDS[1:])
    print(f'{"":12}' + ''.join(f'{kind:>12}' for kind in KINDS) + shares)
    for row in ROWS:
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder, 'bench_idl.thrift')
                    file.write_text(IDL)
                    compiled = ['thrift', '-nowarn', '-out', folder, '--gen', 'py', str(file)]
                    subprocess.run(compiled, check=True)
                    command = [sys.executable, '-m', 'bench.idl', kind, row, folder]
                    found[kind].append(float(subprocess.check_output(command, timeout=120)))
        least_of = {kind: min(times) for kind, times in found.items()}
        parts = [least_of[kind] / least_of['gen-py'] for kind in KINDS[1:]]
        figures = ''.join(f'{least_of[kind]:12.1f}' for kind in KINDS)
        print(f'{row:12}{figures}' + ''.join(f'{share:10.2f}' for share in parts), flush=True)


if __name__ == '__main__':
    if len(sys.argv) == 4:
        print(measure(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
    else:
        compare(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
