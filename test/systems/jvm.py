"""Spark's Thrift server and Hive's metastore, from the jars of the PyPI package pyspark."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

#: What Java 17 has to open for Spark and Hive.
_OPENS = (
    'lang', 'lang.invoke', 'lang.reflect', 'io', 'net', 'nio', 'util', 'util.concurrent',
    'util.concurrent.atomic',
)  # fmt: skip
_SUN = ('sun.nio.ch', 'sun.nio.cs', 'sun.security.action', 'sun.util.calendar', 'sun.security.krb5')
_METASTORE = {
    'javax.jdo.option.ConnectionURL': 'jdbc:derby:memory:metastore;create=true',
    'datanucleus.schema.autoCreateAll': 'true',
    'hive.metastore.schema.verification': 'false',
    'hive.async.log.enabled': 'false',
}


def jars():
    """Return the folder of the jars: of SPARK_HOME, or of pyspark; None if there is none."""
    home = os.environ.get('SPARK_HOME')
    found = importlib.util.find_spec('pyspark')
    if home is None and found is not None:
        home = Path(found.origin).parent
    folder = None if home is None else Path(home) / 'jars'
    return folder if folder is not None and folder.is_dir() else None


def missing():
    """Return what is not installed of what these servers need."""
    return [
        *([] if shutil.which('java') else ['java']),
        *([] if jars() else ['pyspark']),
    ]


class _Java:
    """A server in a process of its own, which listens on `port`, and says `ready` in its log."""

    ready = b''

    def __init__(self, folder, main, arguments, *, classpath=(), options=()):
        self._log = folder / f'{main.rpartition(".")[2]}.log'
        opens = [f'--add-opens=java.base/java.{name}=ALL-UNNAMED' for name in _OPENS]
        opens += [f'--add-opens=java.base/{name}=ALL-UNNAMED' for name in _SUN]
        path = os.pathsep.join((*map(str, classpath), f'{jars()}/*'))
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                ['java', *opens, '-Xmx1g', *options, '-cp', path, main, *arguments],
                cwd=folder, stdout=log, stderr=log,
                env={**os.environ, 'SPARK_HOME': str(jars().parent)},
            )  # fmt: skip
        self._wait()

    def _wait(self):
        end = time.monotonic() + 120
        while True:
            try:
                if self.ready not in self._log.read_bytes():
                    raise ConnectionError
                socket.create_connection(('127.0.0.1', self.port), 1).close()
            except OSError:
                alive = self._process.poll() is None and time.monotonic() < end
                assert alive, self._log.read_text()[-4000:]
                time.sleep(0.2)
            else:
                return

    @property
    def address(self):
        """The address at which the server listens."""
        return f'localhost:{self.port}'

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait()


class Spark(_Java):
    """HiveServer2's interface as Spark has it; `settings` are Hive's."""

    ready = b'HiveThriftServer2 started'

    def __init__(self, folder, settings=None, options=()):
        self.port = _free_port()
        settings = {'hive.server2.thrift.port': self.port, **(settings or {})}
        if settings.get('hive.server2.transport.mode') == 'http':
            settings['hive.server2.thrift.http.port'] = settings.pop('hive.server2.thrift.port')
        settings['hive.server2.thrift.bind.host'] = 'localhost'
        conf = {
            'spark.ui.enabled': 'false',
            'spark.driver.bindAddress': '127.0.0.1',
            'spark.driver.host': '127.0.0.1',
            'spark.sql.warehouse.dir': folder / 'warehouse',
            'spark.sql.catalogImplementation': 'in-memory',
        }
        arguments = ['--master', 'local[1]', '--class', f'{_HIVE}.thriftserver.HiveThriftServer2']
        for name, value in conf.items():
            arguments += ['--conf', f'{name}={value}']
        arguments.append('spark-internal')
        for name, value in settings.items():
            arguments += ['--hiveconf', f'{name}={value}']
        super().__init__(
            folder, 'org.apache.spark.deploy.SparkSubmit', arguments,
            classpath=(folder,), options=('-Djava.net.preferIPv4Stack=true', *options),
        )  # fmt: skip


_HIVE = 'org.apache.spark.sql.hive'


class Metastore(_Java):
    """Hive's metastore, with a database in memory."""

    def __init__(self, folder):
        self.port = _free_port()
        rows = {**_METASTORE, 'hive.metastore.warehouse.dir': folder / 'warehouse'}
        properties = ''.join(
            f'<property><name>{name}</name><value>{value}</value></property>'
            for name, value in rows.items()
        )
        (folder / 'hive-site.xml').write_text(f'<configuration>{properties}</configuration>')
        super().__init__(
            folder, 'org.apache.hadoop.hive.metastore.HiveMetaStore', ['-p', str(self.port)],
            classpath=(folder,),
        )  # fmt: skip


def _free_port():
    with socket.create_server(('127.0.0.1', 0)) as found:
        return found.getsockname()[1]
