"""Small handlers of the metastore's and HBase's services."""

from __future__ import annotations

import threading
import time


class Metastore:
    """A Hive Metastore with one database."""

    def get_all_databases(self):
        return ['default']

    def get_database(self, name):
        from pymetastore.hive_metastore.ttypes import Database, NoSuchObjectException

        if name != 'default':
            raise NoSuchObjectException(f'there is no database {name}')
        return Database('default', 'the default', 'file:/warehouse', {})

    def set_ugi(self, user_name, group_names):
        return group_names


class Store:
    """An HBase in memory, as far as happybase goes: versions, families, scanners, counters."""

    def __init__(self):
        import Hbase_thrift

        self._types = Hbase_thrift
        self._tables, self._families, self._scanners = {}, {}, {}
        self._enabled = {}
        self._lock = threading.RLock()

    # Tables.

    def createTable(self, tableName, columnFamilies):
        self._tables[tableName] = {}
        self._families[tableName] = {family.name: family for family in columnFamilies}

    def deleteTable(self, tableName):
        del self._tables[tableName], self._families[tableName]

    def getTableNames(self):
        return sorted(self._tables)

    def enableTable(self, tableName):
        self._enabled[tableName] = True

    def disableTable(self, tableName):
        self._enabled[tableName] = False

    def isTableEnabled(self, tableName):
        return self._enabled.get(tableName, True)

    def compact(self, tableNameOrRegionName):
        pass

    majorCompact = compact  # noqa: N815 - HBase's name

    def getTableRegions(self, tableName):
        return []

    def getColumnDescriptors(self, tableName):
        return self._families.get(tableName, {})

    # Writes: a row is a dict of columns, each a dict of values by timestamp.

    def mutateRows(self, tableName, rowBatches, attributes):
        self.mutateRowsTs(tableName, rowBatches, int(time.time() * 1000), attributes)

    def mutateRowsTs(self, tableName, rowBatches, timestamp, attributes):
        with self._lock:
            rows = self._tables.setdefault(tableName, {})
            for batch in rowBatches:
                row = rows.setdefault(batch.row, {})
                for mutation in batch.mutations:
                    if mutation.isDelete:
                        self._delete(row, mutation.column, timestamp)
                    else:
                        row.setdefault(mutation.column, {})[timestamp] = mutation.value

    def mutateRow(self, tableName, row, mutations, attributes):
        batch = self._types.BatchMutation(row, mutations)
        self.mutateRows(tableName, [batch], attributes)

    @staticmethod
    def _delete(row, wanted, timestamp):
        for column, cells in row.items():
            if _is_in(column, [wanted]):
                for stamp in [stamp for stamp in cells if stamp <= timestamp]:
                    del cells[stamp]

    def atomicIncrement(self, tableName, row, column, value):
        with self._lock:
            found = self.getRowWithColumns(tableName, row, [column], {})
            old = int.from_bytes(found[0].columns[column].value, 'big', signed=True) if found else 0
            data = (old + value).to_bytes(8, 'big', signed=True)
            self.mutateRow(tableName, row, [self._types.Mutation(False, column, data)], {})
            return old + value

    # Reads.

    def _row(self, tableName, row, columns=None, before=None):
        found = {}
        for column, cells in self._tables.get(tableName, {}).get(row, {}).items():
            stamps = [stamp for stamp in cells if before is None or stamp < before]
            if stamps and (not columns or _is_in(column, columns)):
                found[column] = self._types.TCell(cells[max(stamps)], max(stamps))
        return found

    def _rows(self, tableName, rows, columns=None, before=None, ordered=False):
        results = []
        for row in rows:
            found = self._row(tableName, row, columns, before)
            if found and ordered:
                pairs = [self._types.TColumn(name, cell) for name, cell in sorted(found.items())]
                results.append(self._types.TRowResult(row, sortedColumns=pairs))
            elif found:
                results.append(self._types.TRowResult(row, found))
        return results

    def getRowWithColumns(self, tableName, row, columns, attributes):
        return self._rows(tableName, [row], columns)

    def getRowWithColumnsTs(self, tableName, row, columns, timestamp, attributes):
        return self._rows(tableName, [row], columns, timestamp)

    def getRowsWithColumns(self, tableName, rows, columns, attributes):
        return self._rows(tableName, rows, columns)

    def getRowsWithColumnsTs(self, tableName, rows, columns, timestamp, attributes):
        return self._rows(tableName, rows, columns, timestamp)

    def getVer(self, tableName, row, column, numVersions, attributes):
        return self.getVerTs(tableName, row, column, 1 << 62, numVersions, attributes)

    def getVerTs(self, tableName, row, column, timestamp, numVersions, attributes):
        cells = self._tables.get(tableName, {}).get(row, {}).get(column, {})
        stamps = sorted((stamp for stamp in cells if stamp < timestamp), reverse=True)
        return [self._types.TCell(cells[stamp], stamp) for stamp in stamps[:numVersions]]

    def scannerOpenWithScan(self, tableName, scan, attributes):
        first, last = scan.startRow or b'', scan.stopRow or b''
        if scan.reversed:
            first, last = last, first
        rows = [
            row
            for row in sorted(self._tables.get(tableName, {}), reverse=bool(scan.reversed))
            if (row > first if scan.reversed else row >= first)
            and (not last or (row <= last if scan.reversed else row < last))
        ]
        found = self._rows(
            tableName, rows, scan.columns, scan.timestamp, ordered=bool(scan.sortColumns)
        )
        with self._lock:
            number = len(self._scanners)
            self._scanners[number] = iter(found)
        return number

    def scannerGetList(self, id, nbRows):
        return [row for _, row in zip(range(nbRows), self._scanners[id], strict=False)]

    def scannerClose(self, id):
        self._scanners[id] = iter(())


def _is_in(column, wanted):
    """Whether a column is one of those wanted, or of one of the families wanted."""
    family = column.partition(b':')[0]
    return any(each == column or each.rstrip(b':') == family for each in wanted)
