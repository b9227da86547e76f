"""The cost of a small call in system calls, functions and threads: counted, not timed."""

import subprocess
import sys
import threading

import pytest

import rich_if.rich_service
import test_if.test_service
import thrift_client
from handlers import KeyValue

#: What has no place on the way of a small call, by the names of the C functions.
NOT_ON_THE_WAY = {
    'acquire',
    'getaddrinfo',
    'getitimer',
    'ioctl',
    'register',
    'select',
    'settimeout',
    'setblocking',
    'start_new_thread',
}


def c_calls(function):
    """The names of the C functions that `function` calls, in order."""
    names = []

    def note(_frame, event, argument):
        if event == 'c_call':
            names.append(argument.__name__)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return names


def of_client(server, **options):
    """A client and its small call."""
    client = thrift_client.SimpleClient(
        test_if.test_service, server.host, server.port, **options
    )
    return client, lambda: client.getk('key')


def of_hash_pool(server, **options):
    """A hash pool and a small call that takes the value of the response."""
    pool = thrift_client.HashClient(
        test_if.test_service, servers=[server.address], **options
    )
    pool.getk.set_hash(lambda key: key)
    return pool, lambda: pool.getk('key').value()


@pytest.mark.smoke
@pytest.mark.parametrize('make', [of_client, of_hash_pool])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
@pytest.mark.parametrize('frame', [False, True], ids=['buffered', 'framed'])
def test_a_small_call_is_one_send_and_one_receive(thrift_server, make, protocol, frame):
    """It sends once, receives once, waits once at most, and takes no lock and no thread.

    The wait is a poll of its own, which a signal cannot make longer than the timeout.
    """
    wire = {'transport': 'framed' if frame else 'buffered', 'protocol': protocol}
    server = thrift_server(test_if.test_service, KeyValue(), **wire)
    client, call = make(server, **wire)
    with client:
        (client.setk('key', 'value'), call(), call())
        names = min((c_calls(call) for _ in range(5)), key=len)  # the next call comes at once
    assert names.count('send') == 1
    assert names.count('poll') <= 1
    assert names.count('recv') == 1
    assert not NOT_ON_THE_WAY & set(names), names


def test_the_count_notices_a_second_poll(rich_server):
    """A call that waits for longer than a poll does polls again, and the count shows it."""
    client = thrift_client.SimpleClient(
        rich_if.rich_service, rich_server.host, rich_server.port
    )
    with client:
        client.sleep_ms(1)
        names = c_calls(lambda: client.sleep_ms(1100))
    assert names.count('poll') > 1


def test_a_small_call_is_few_functions(kv_server):
    """A new Python function in the path of a call shows here."""
    client, call = of_client(kv_server)
    frames = []

    def note(frame, event, _argument):
        if event == 'call':
            frames.append(frame.f_code.co_name)

    with client:
        client.setk('key', 'value')
        (call(), call())
        sys.setprofile(note)
        try:
            call()
        finally:
            sys.setprofile(None)
    assert frames == ['<lambda>', 'getk', 'make_call', 'small_exchange', 'read_small']


def test_an_unused_client_has_no_thread_and_no_socket(assert_no_leaks):
    """Thousands of clients and pools that are made and closed leave nothing."""
    before = threading.active_count()
    for port in range(9000, 9500):
        thrift_client.SimpleClient(test_if.test_service, port=port).close()
        thrift_client.ThreadedHashClient(test_if.test_service, servers=[f'h:{port}']).close()
    assert threading.active_count() == before


#: What takes long to import, and is needed by few programs or not before something fails.
IMPORTED_WHEN_USED = {
    'asyncio', 'concurrent.futures', 'dataclasses', 'email', 'http', 'json', 'random', 'ssl',
    'typing', 'urllib',
}  # fmt: skip


def imported_by(code):
    """The names of the modules that are there after some code, in a new interpreter."""
    done = subprocess.run(
        [sys.executable, '-c', f'{code}; import sys; print(*sys.modules)'],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_a_program_with_one_client_imports_little():
    """Not more than Apache's library does, of what takes long."""
    apache = imported_by('import thrift.transport.TSocket, thrift.protocol.TBinaryProtocol')
    ours = imported_by('from thrift_client import SimpleClient')
    assert not (ours - apache) & IMPORTED_WHEN_USED
