"""Listeners that can be waited for, and real registries as processes."""

import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ZOOKEEPER_JAR = Path('/usr/share/java/zookeeper.jar')
#: Without it ZooKeeper logs nothing.
LOG_JAR = Path('/usr/share/java/slf4j-simple.jar')
#: What a wait for an event may take on a loaded machine; in seconds.
LONG = 15


def free_port(kind=socket.SOCK_STREAM):
    """A port that is free now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def wait_until(condition):
    """Wait for what another thread or a server does, if there is no event for it."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Recorder:
    """A listener that keeps what it is told, and can be waited for."""

    def __init__(self):
        self.updates = []
        self.troubles = []
        self._news = threading.Condition()

    def update(self, members):
        with self._news:
            self.updates.append(members)
            self._news.notify_all()

    def trouble(self, exception):
        with self._news:
            self.troubles.append(exception)
            self._news.notify_all()

    @property
    def names(self):
        """The names of the last list; None before the first."""
        return [member.name for member in self.updates[-1]] if self.updates else None

    def wait_for(self, condition, timeout=LONG):
        """Wait until `condition()` holds after something that was told."""
        with self._news:
            assert self._news.wait_for(condition, timeout), (self.updates, self.troubles)

    def wait_names(self, *names, timeout=LONG):
        """Wait for a list of exactly these names."""
        self.wait_for(lambda: self.names == list(names), timeout)


class Daemon:
    """A server process on one port, which can be stopped and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None

    @property
    def address(self):
        return f'127.0.0.1:{self.port}'

    def start(self):
        log = (self.folder / 'log').open('ab')
        with log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        end = time.monotonic() + LONG
        while not self.ready():
            assert self.process.poll() is None, (self.folder / 'log').read_text()
            assert time.monotonic() < end, (self.folder / 'log').read_text()
            time.sleep(0.05)  # no server tells when it is ready
        return self

    def pause(self):
        """Have it hang until it is killed."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(LONG)
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.kill()

    def ready(self):
        return self.asked(b'') is not None

    def asked(self, question):
        """What the server answers on a connection of its own; None if there is none."""
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=2) as sock:
                if not question:
                    return b''
                sock.sendall(question)
                return sock.recv(4096)
        except OSError:
            return None


class ZooKeeper(Daemon):
    """ZooKeeper by itself, with sessions that may be as short as 200 ms."""

    def command(self):
        config = self.folder / 'zoo.cfg'
        config.write_text(
            f'tickTime=100\ndataDir={self.folder}/data\nclientPort={self.port}\n'
            'clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxSessionTimeout=20000\n'
            '4lw.commands.whitelist=srvr\n'
        )
        java = ['java', '-Xmx96m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
        main = 'org.apache.zookeeper.server.quorum.QuorumPeerMain'
        return [*java, '-cp', f'{ZOOKEEPER_JAR}:{LOG_JAR}', main, str(config)]

    def ready(self):
        return b'Mode: standalone' in (self.asked(b'srvr') or b'')

    @property
    def expired(self):
        """How many sessions ended without a heartbeat."""
        return (self.folder / 'log').read_text().count('Expiring session')

    def wait_expired(self, before):
        """Wait until more sessions expired than before."""
        end = time.monotonic() + LONG
        while self.expired == before:
            assert time.monotonic() < end
            time.sleep(0.02)  # a log file has no events


class Etcd(Daemon):
    """A cluster of one etcd, over TLS if it is given a certificate."""

    def __init__(self, folder, tls=()):
        super().__init__(folder)
        self.peer = free_port()
        self.tls = tls

    def command(self):
        scheme = 'https' if self.tls else 'http'
        client, peer = f'{scheme}://{self.address}', f'http://127.0.0.1:{self.peer}'
        return [
            *('etcd', '--data-dir', str(self.folder / 'data'), *self.tls),
            *('--listen-client-urls', client, '--advertise-client-urls', client),
            *('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer),
            *('--initial-cluster', f'default={peer}', '--unsafe-no-fsync'),
            # The shortest lease follows from the election timeout; nobody guesses passwords here.
            *('--heartbeat-interval=10', '--election-timeout=100', '--bcrypt-cost=4'),
        ]


class Dnsmasq(Daemon):
    """A name server with records that a test gives it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.records = []

    def command(self):
        return [
            *('dnsmasq', '--no-daemon', '--conf-file=/dev/null', f'--port={self.port}'),
            *('--listen-address=127.0.0.1', '--bind-interfaces', '--no-resolv', '--no-hosts'),
            *('--user=', '--group=', '--pid-file=', '--local=/test/'),
            *self.records,
        ]

    def serve(self, *records):
        """Have exactly these records, by restarting."""
        self.kill()
        self.records = records
        self.start()

    def wait_queries(self, number):
        """Wait for so many queries for addresses; returns when each was first seen."""
        seen, end = [], time.monotonic() + LONG
        while len(seen) < number and time.monotonic() < end:
            count = (self.folder / 'log').read_text().count(': query[A]')
            seen += [time.monotonic()] * (count - len(seen))
            time.sleep(0.02)  # a log file has no events
        return seen
