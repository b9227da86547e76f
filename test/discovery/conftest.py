"""Real registries on free ports, started when a test asks for them."""

import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from discovery.helpers import ZOOKEEPER_JAR, Dnsmasq, Etcd, Recorder, ZooKeeper

REQUIRED = os.environ.get('THRIFT_CLIENT_REQUIRE_SERVERS') == '1'


def missing(what, package):
    """Skip the test, or fail it where the servers are required."""
    reason = f'{what} is not installed: apt-get install {package}'
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_leaks():
    """Fail a test of discovery that leaves threads or descriptors behind."""
    threads, opened = set(threading.enumerate()), descriptors()
    yield
    end = time.monotonic() + 5
    while time.monotonic() < end:
        left = [each.name for each in threading.enumerate() if each not in threads]
        if not left and descriptors() <= opened:
            return
        time.sleep(0.02)  # a thread that was told to end has no event for being gone
    pytest.fail(f'left behind: threads {left}, {descriptors() - opened} descriptors')


def descriptors():
    """How many files, sockets and pipes are open now."""
    return len(list(Path('/proc/self/fd').iterdir()))


@pytest.fixture
def recorder():
    """A listener."""
    return Recorder()


@pytest.fixture
def watch(recorder):
    """Follow sources until the test ends."""
    watches = []

    def follow(source, listener=recorder):
        watches.append(source.watch(listener))
        return watches[-1]

    yield follow
    for each in watches:
        each.close()


@pytest.fixture(scope='session')
def zookeeper(tmp_path_factory):
    """One ZooKeeper for all tests that leave it running, since it takes seconds to start."""
    with zookeeper_in(tmp_path_factory.mktemp('zookeeper')) as server:
        yield server


@pytest.fixture
def zookeeper_to_kill(tmp_path):
    """A ZooKeeper for one test."""
    with zookeeper_in(tmp_path) as server:
        yield server


@contextmanager
def zookeeper_in(folder):
    """Run ZooKeeper with its data in a folder."""
    if not ZOOKEEPER_JAR.exists() or shutil.which('java') is None:
        missing('ZooKeeper', 'zookeeper')
    with ZooKeeper(folder) as server:
        yield server


@pytest.fixture(scope='session')
def etcd(tmp_path_factory):
    """One etcd for all tests that leave it running."""
    with etcd_in(tmp_path_factory.mktemp('etcd')) as server:
        yield server


@pytest.fixture
def etcd_to_kill(tmp_path):
    """An etcd for one test."""
    with etcd_in(tmp_path) as server:
        yield server


@contextmanager
def etcd_in(folder, *tls):
    """Run etcd with its data in a folder, with its options for TLS."""
    if shutil.which('etcd') is None:
        missing('etcd', 'etcd-server')
    with Etcd(folder, tls) as server:
        yield server


@pytest.fixture
def dnsmasq(tmp_path):
    """A name server without records."""
    if shutil.which('dnsmasq') is None:
        missing('dnsmasq', 'dnsmasq-base')
    with Dnsmasq(tmp_path) as server:
        yield server
