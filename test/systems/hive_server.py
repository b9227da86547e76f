"""A HiveServer2 of one table, whose sessions end with the connection that opened them."""

from __future__ import annotations

import itertools
import threading

from TCLIService import TCLIService, ttypes
from TCLIService.ttypes import (
    TColumn,
    TColumnDesc,
    TDoubleColumn,
    TFetchResultsResp,
    THandleIdentifier,
    TI64Column,
    TOperationHandle,
    TOperationType,
    TPrimitiveTypeEntry,
    TRowSet,
    TSessionHandle,
    TStatus,
    TStatusCode,
    TStringColumn,
    TTableSchema,
    TTypeDesc,
    TTypeEntry,
    TTypeId,
)

from wire.sasl_server import SaslServer

#: What every SELECT returns: (name, type, column).
TABLE = (
    ('t.id', TTypeId.BIGINT_TYPE, TColumn(i64Val=TI64Column([1, 2, 0], b'\x04'))),
    ('t.ratio', TTypeId.DOUBLE_TYPE, TColumn(doubleVal=TDoubleColumn([0.5, 0.0, 1.5], b'\x02'))),
    ('t.name', TTypeId.STRING_TYPE, TColumn(stringVal=TStringColumn(['a', 'ä', ''], b'\x04'))),
)
ROWS = [(1, 0.5, 'a'), (2, None, 'ä'), (None, 1.5, None)]
_OK = TStatus(TStatusCode.SUCCESS_STATUS)


def _error(text):
    return TStatus(TStatusCode.ERROR_STATUS, [], '08S01', 0, text)


class Hive:
    """The methods of TCLIService that clients need to run a statement."""

    def __init__(self):
        self._numbers = itertools.count(1)
        self._sessions = {}
        self._fetched = set()

    def end_of_connection(self):
        """Close the sessions that the connection of this thread has opened."""
        mine = threading.get_ident()
        for session in [guid for guid, thread in self._sessions.items() if thread == mine]:
            del self._sessions[session]

    @property
    def sessions(self):
        """How many are open."""
        return len(self._sessions)

    def _handle(self):
        return THandleIdentifier(b'%016d' % next(self._numbers), b'secret'.ljust(16))

    def OpenSession(self, request):
        handle = self._handle()
        self._sessions[handle.guid] = threading.get_ident()
        version = min(request.client_protocol or 0, 5)
        return ttypes.TOpenSessionResp(_OK, version, TSessionHandle(handle), {})

    def CloseSession(self, request):
        if self._sessions.pop(request.sessionHandle.sessionId.guid, None) is None:
            return ttypes.TCloseSessionResp(_error('Invalid SessionHandle'))
        return ttypes.TCloseSessionResp(_OK)

    def ExecuteStatement(self, request):
        session = request.sessionHandle.sessionId.guid
        if session not in self._sessions:
            text = f'Invalid SessionHandle: SessionHandle [{session.decode()}]'
            return ttypes.TExecuteStatementResp(_error(text))
        has_results = not request.statement.startswith('USE')
        operation = TOperationHandle(
            self._handle(), TOperationType.EXECUTE_STATEMENT, has_results
        )
        return ttypes.TExecuteStatementResp(_OK, operation)

    def GetOperationStatus(self, request):
        return ttypes.TGetOperationStatusResp(_OK, ttypes.TOperationState.FINISHED_STATE)

    def GetResultSetMetadata(self, request):
        columns = [
            TColumnDesc(name, TTypeDesc([TTypeEntry(TPrimitiveTypeEntry(kind))]), i + 1)
            for i, (name, kind, _) in enumerate(TABLE)
        ]
        return ttypes.TGetResultSetMetadataResp(_OK, TTableSchema(columns))

    def FetchResults(self, request):
        operation = request.operationHandle.operationId.guid
        if operation in self._fetched or request.fetchType:
            columns = [
                TColumn(i64Val=TI64Column([], b'')),
                TColumn(doubleVal=TDoubleColumn([], b'')),
                TColumn(stringVal=TStringColumn([], b'')),
            ]
        else:
            columns = [column for _, _, column in TABLE]
        self._fetched.add(operation)
        return TFetchResultsResp(_OK, False, TRowSet(0, [], columns))

    def GetLog(self, request):
        return ttypes.TGetLogResp(_OK, 'ran')

    def CloseOperation(self, request):
        return ttypes.TCloseOperationResp(_OK)

    def CancelOperation(self, request):
        return ttypes.TCancelOperationResp(_OK)


class HiveServer(SaslServer):
    """The server in binary mode, behind SASL PLAIN and, with a context, TLS."""

    def __init__(self, context=None, port=0):
        super().__init__(port=port)
        self.hive = Hive()
        self._processor = TCLIService.Processor(self.hive)
        self._context = context
        self.address = f'localhost:{self.port}'

    def _refusal(self, response):
        return b'Error validating the login'

    def _talk(self, peer):
        try:
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
                self._peers.append(peer)
            super()._talk(peer)
        finally:
            self.hive.end_of_connection()
