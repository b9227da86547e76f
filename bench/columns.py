"""Measure the results of HiveServer2: CPU for each row, compared with PyHive and impyla.

`python -m bench.columns [ROWS]` prints the figures. The replies are recorded: a server in
another process sends the same one for each 100,000 rows.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from bench.harness import calling, measure, spread
from bench.section import GENERATED, SIMPLE, Effort, ratio
from bench.table import Row, Table

ROWS = 1_000_000
BATCH = 100_000
ROUNDS = 3
OURS, PYHIVE, IMPYLA = 'convert.columns', 'PyHive', 'impyla'
#: The columns of each table: of 'i' for i64, 'd' for double and 's' for string.
TABLES = {
    '10 columns of numbers': 'iiiiiddddd',
    '7 columns of numbers and 3 of strings': 'iiiidddsss',
    '10 columns of strings': 'ssssssssss',
}
#: CPU relative to the faster of the others: the bound, and the aim.
BOUNDS = {'10 columns of numbers': (0.33, 0.08)}
OTHERWISE = (1.0, 0.65)
#: CPU of reading one reply into arrays, relative to the generated client, which makes lists.
READING = {
    '10 columns of numbers': 0.08,
    '7 columns of numbers and 3 of strings': 0.65,
    '10 columns of strings': 1.10,
}


def _reply(kinds: str) -> bytes:
    """The body of a reply of FetchResults, after its message header."""
    from TCLIService import ttypes
    from TCLIService.TCLIService import FetchResults_result
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TTransport import TMemoryBuffer

    nulls = b'\x01' * (BATCH // 8)
    texts = [f'row {i}' for i in range(BATCH)]
    made = {
        'i': ttypes.TColumn(i64Val=ttypes.TI64Column(list(range(BATCH)), nulls)),
        'd': ttypes.TColumn(doubleVal=ttypes.TDoubleColumn([i / 7 for i in range(BATCH)], nulls)),
        's': ttypes.TColumn(stringVal=ttypes.TStringColumn(texts, b'')),
    }
    rows = ttypes.TRowSet(0, [], [made[kind] for kind in kinds])
    buffer = TMemoryBuffer()
    FetchResults_result(ttypes.TFetchResultsResp(ttypes.TStatus(0), True, rows)).write(
        TBinaryProtocol(buffer)
    )
    return bytes(buffer.getvalue())


class _Hive:
    """Answers the calls before and after the results."""

    def __init__(self, kinds: str) -> None:
        from TCLIService import ttypes

        self._types, self._kinds = ttypes, kinds
        self._handle = ttypes.THandleIdentifier(b'guid'.ljust(16), b'secret'.ljust(16))

    def OpenSession(self, _request: Any) -> Any:
        session = self._types.TSessionHandle(self._handle)
        return self._types.TOpenSessionResp(self._types.TStatus(0), 5, session, {})

    def ExecuteStatement(self, _request: Any) -> Any:
        operation = self._types.TOperationHandle(self._handle, 0, True)
        return self._types.TExecuteStatementResp(self._types.TStatus(0), operation)

    def GetOperationStatus(self, _request: Any) -> Any:
        return self._types.TGetOperationStatusResp(self._types.TStatus(0), 2)

    def GetLog(self, _request: Any) -> Any:
        return self._types.TGetLogResp(self._types.TStatus(0), '')

    def GetResultSetMetadata(self, _request: Any) -> Any:
        t = self._types
        types = {'i': t.TTypeId.BIGINT_TYPE, 'd': t.TTypeId.DOUBLE_TYPE, 's': t.TTypeId.STRING_TYPE}
        columns = [
            t.TColumnDesc(f'c{i}', t.TTypeDesc([t.TTypeEntry(t.TPrimitiveTypeEntry(types[k]))]), i)
            for i, k in enumerate(self._kinds)
        ]
        return t.TGetResultSetMetadataResp(t.TStatus(0), t.TTableSchema(columns))

    def CloseOperation(self, _request: Any) -> Any:
        return self._types.TCloseOperationResp(self._types.TStatus(0))

    def CloseSession(self, _request: Any) -> Any:
        return self._types.TCloseSessionResp(self._types.TStatus(0))


def _refuse(protocol: Any, name: str, number: int) -> None:
    """Answer a call of a method that Hive doesn't have."""
    from thrift.Thrift import TApplicationException, TType

    protocol.skip(TType.STRUCT)
    protocol.writeMessageBegin(name, 3, number)
    TApplicationException(TApplicationException.UNKNOWN_METHOD, name).write(protocol)
    protocol.trans.flush()


def _serve(kinds: str, batches: int, ready: Any) -> None:
    """Serve one connection after the other, until the process is ended."""
    from TCLIService import TCLIService, ttypes
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TBufferedTransport, TTransportException

    processor = TCLIService.Processor(_Hive(kinds))
    body = _reply(kinds)
    end = ttypes.TFetchResultsResp(ttypes.TStatus(0), False, ttypes.TRowSet(0, [], []))
    listener = socket.create_server(('127.0.0.1', 0))
    ready.put(listener.getsockname()[1])
    while True:
        peer, _ = listener.accept()
        stream = TSocket()
        stream.setHandle(peer)
        transport = TBufferedTransport(stream)
        protocol = TBinaryProtocol(transport)
        left = batches
        while True:
            try:
                name, _, number = protocol.readMessageBegin()
            except (EOFError, TTransportException):
                break
            if name not in processor._processMap:
                _refuse(protocol, name, number)
                continue
            if name != 'FetchResults':
                processor._processMap[name](processor, number, protocol, protocol)
                left = batches if name == 'ExecuteStatement' else left
                continue
            TCLIService.FetchResults_args().read(protocol)
            protocol.writeMessageBegin(name, 2, number)
            if left:
                transport.write(body)
            else:
                columns = [
                    {
                        'i': ttypes.TColumn(i64Val=ttypes.TI64Column([], b'')),
                        'd': ttypes.TColumn(doubleVal=ttypes.TDoubleColumn([], b'')),
                        's': ttypes.TColumn(stringVal=ttypes.TStringColumn([], b'')),
                    }[kind]
                    for kind in kinds
                ]
                end.results.columns = columns
                TCLIService.FetchResults_result(end).write(protocol)
            transport.flush()
            left -= 1


def _ours(port: int) -> int:
    from TCLIService import TCLIService, ttypes

    from thrift_client import SimpleClient, convert

    with (
        SimpleClient(
            TCLIService, '127.0.0.1', port, arrays='numpy', max_message_size=1 << 30
        ) as client,
        client.pinned() as one,
    ):
        session = one.OpenSession(ttypes.TOpenSessionReq(client_protocol=5)).sessionHandle
        operation = one.ExecuteStatement(
            ttypes.TExecuteStatementReq(session, 'select')
        ).operationHandle
        schema = one.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(operation))
        rows = 0
        while True:
            answer = one.FetchResults(ttypes.TFetchResultsReq(operation, maxRows=BATCH))
            found = convert.columns(answer.results, schema)
            count = len(found['c0'])
            if not count:
                return rows
            rows += count


def _pyhive(port: int) -> int:
    from pyhive import hive

    with hive.connect('127.0.0.1', port, auth='NOSASL') as connection:
        cursor = connection.cursor(arraysize=BATCH)
        cursor.execute('select')
        rows = 0
        while found := cursor.fetchmany(BATCH):
            rows += len(found)
        return rows


def _impyla(port: int) -> int:
    from impala.dbapi import connect

    connection = connect('127.0.0.1', port, auth_mechanism='NOSASL')
    cursor = connection.cursor(user='me', close_finished_queries=False)
    cursor.set_arraysize(BATCH)
    cursor.execute('select')
    rows = sum(len(batch) for batch in iter(lambda: cursor.fetchmany(BATCH), []))
    cursor._last_operation = None  # it would be closed with a method of Impala's
    cursor.close()
    connection.close()
    return rows


_FETCHES: dict[str, Callable[[int], int]] = {OURS: _ours, PYHIVE: _pyhive, IMPYLA: _impyla}


@contextmanager
def _server(kinds: str, batches: int) -> Iterator[int]:
    """Run a server that answers so many calls with rows; its port."""
    context = get_context('spawn')
    ready = context.Queue()
    server = context.Process(target=_serve, args=(kinds, batches, ready), daemon=True)
    server.start()
    try:
        yield ready.get(timeout=120)
    finally:
        server.terminate()
        server.join()


def _measured(kinds: str, rows: int) -> dict[str, tuple[float, float]]:
    """For each client the least CPU and wall time of a row, in ns."""
    found: dict[str, tuple[float, float]] = {}
    with _server(kinds, rows // BATCH) as port:
        for name, fetch in _FETCHES.items():
            costs = []
            for _ in range(ROUNDS):
                gc.collect()
                cpu, wall = time.process_time(), time.perf_counter()
                try:
                    got = fetch(port)
                except ImportError:
                    break
                cost = time.process_time() - cpu, time.perf_counter() - wall
                assert got == rows, (name, got)
                costs.append(cost)
            if costs:
                found[name] = tuple(min(each) / rows * 1e9 for each in zip(*costs, strict=True))  # type: ignore[assignment]
    return found


def _reading(name: str, kinds: str, effort: Effort) -> Row:
    """Measure the reading of one reply, compared with Apache's client.

    Raises ImportError without impyla: PyHive's code is too old for the C extension of thrift.
    """
    from impala._thrift_gen.TCLIService import TCLIService, ttypes
    from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TBufferedTransport

    from thrift_client import SimpleClient

    handle = ttypes.TOperationHandle(ttypes.THandleIdentifier(b'', b''), 0, True)
    request = ttypes.TFetchResultsReq(handle, maxRows=BATCH)
    # A server each, because one serves one connection at a time.
    with _server(kinds, sys.maxsize) as port, _server(kinds, sys.maxsize) as their_port:
        ours = SimpleClient(
            TCLIService, '127.0.0.1', port, arrays='numpy', max_message_size=1 << 30
        )
        connection = TSocket('127.0.0.1', their_port)
        transport = TBufferedTransport(connection)
        theirs = TCLIService.Client(TBinaryProtocolAccelerated(transport, fallback=False))
        transport.open()
        contestants = [
            calling(SIMPLE, lambda: ours.FetchResults(request), ours.close),
            calling(GENERATED, lambda: theirs.FetchResults(request), connection.close),
        ]
        rounds = measure(contestants, effort.rounds(15), number=1)
    return Row(
        f'{BATCH:,} rows of {name} read into arrays, CPU',
        GENERATED,
        READING[name],
        measured=ratio(rounds, SIMPLE, GENERATED, 'cpu'),
    )


def columns(effort: Effort) -> Table:
    """Measure what a row costs, as a section of the benchmarks."""
    table = Table()
    for name, kinds in TABLES.items():
        found = _measured(kinds, BATCH if effort.quick else ROWS)
        others = [cost for client, (cost, _) in found.items() if client != OURS]
        table.notes.append(
            f'{name}, CPU of a row in ns: '
            + ', '.join(f'{client} {cost:.0f}' for client, (cost, _) in found.items())
        )
        if others:
            must, aim = BOUNDS.get(name, OTHERWISE)
            share = spread([found[OURS][0] / min(others)])
            table.rows.append(Row(f'HiveServer2: {name}', 'PyHive, impyla', must, aim, share))
            try:
                table.rows.append(_reading(name, kinds, effort))
            except ImportError as error:
                table.notes.append(f'not measured: {error}')
    return table


def main() -> None:
    """Print the figures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for name, kinds in TABLES.items():
        found = _measured(kinds, rows)
        print(name)
        for client, (cpu, wall) in found.items():
            share = cpu / found[OURS][0]
            print(f'  {client:16} {cpu:8.0f} ns CPU, {wall:8.0f} ns wall a row ({share:.1f} x)')


if __name__ == '__main__':
    main()
