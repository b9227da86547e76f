"""Small handlers of the metastore's and HBase's services."""

from __future__ import annotations


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
    """An HBase of one table in memory, as far as happybase's tables and scanners go."""

    def __init__(self):
        self._rows, self._scanners = {}, {}

    def _results(self, rows):
        from Hbase_thrift import TRowResult

        return [TRowResult(row, self._rows[row]) for row in rows if row in self._rows]

    def mutateRow(self, tableName, row, mutations, attributes):
        from Hbase_thrift import TCell

        cells = self._rows.setdefault(row, {})
        cells.update({mutation.column: TCell(mutation.value, 1) for mutation in mutations})

    def mutateRows(self, tableName, rowBatches, attributes):
        for batch in rowBatches:
            self.mutateRow(tableName, batch.row, batch.mutations, attributes)

    def getRowWithColumns(self, tableName, row, columns, attributes):
        return self._results([row])

    def scannerOpenWithScan(self, tableName, scan, attributes):
        self._scanners[len(self._scanners)] = iter(self._results(sorted(self._rows)))
        return len(self._scanners) - 1

    def scannerGetList(self, id, nbRows):
        return [row for _, row in zip(range(nbRows), self._scanners[id], strict=False)]

    def scannerClose(self, id):
        self._scanners[id] = iter(())
