"""A server that looks like HiveServer2: its interface, and SASL around its messages."""

from __future__ import annotations

import struct

from TCLIService import TCLIService
from TCLIService.ttypes import (
    TColumn,
    TExecuteStatementResp,
    TFetchResultsResp,
    THandleIdentifier,
    TI32Column,
    TOpenSessionResp,
    TOperationHandle,
    TRowSet,
    TSessionHandle,
    TStatus,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.transport.TTransport import TFramedTransport, TTransportException

from thrift_client.testing import serve

START, OK, BAD, COMPLETE = 1, 2, 3, 5
LOGIN = b'\0me\0secret'


class Hive:
    """Handles three methods of HiveServer2: every statement has the result 1."""

    def OpenSession(self, request):
        return TOpenSessionResp(TStatus(0), 9, TSessionHandle(THandleIdentifier(b'guid', b'')))

    def ExecuteStatement(self, request):
        assert request.sessionHandle.sessionId.guid == b'guid'
        operation = TOperationHandle(THandleIdentifier(b'op', b''), 0, True)
        return TExecuteStatementResp(TStatus(0), operation)

    def FetchResults(self, request):
        column = TColumn(i32Val=TI32Column([1], b''))
        return TFetchResultsResp(TStatus(0), False, TRowSet(0, [], [column]))


class PlainLogin(TFramedTransport):
    """Frames on a connection that begins with a login by PLAIN."""

    def __init__(self, transport):
        super().__init__(transport)
        self._raw = transport
        self._known = False

    def read(self, size):
        if not self._known:
            self._log_in()
            self._known = True
        return super().read(size)

    def _log_in(self):
        mechanism = self._receive(START)
        if mechanism != b'PLAIN' or self._receive(OK) != LOGIN:
            self._send(BAD, b'wrong password')
            raise TTransportException(TTransportException.NOT_OPEN, 'wrong password')
        self._send(COMPLETE, b'')

    def _receive(self, expected):
        status, size = struct.unpack('!BI', self._raw.readAll(5))
        assert status == expected
        return self._raw.readAll(size)

    def _send(self, status, payload):
        self._raw.write(struct.pack('!BI', status, len(payload)) + payload)
        self._raw.flush()


class PlainLogins:
    """The factory of these transports: one for each connection, both ways."""

    def __init__(self):
        self._made = {}

    def getTransport(self, transport):
        return self._made.setdefault(id(transport), PlainLogin(transport))


def serve_hive(**options):
    """Serve HiveServer2's interface; this code by an old compiler needs the pure protocol."""
    return serve(TCLIService, Hive(), protocol=TBinaryProtocolFactory(), **options)
