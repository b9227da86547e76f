"""The thread between a source and a listener: what it reports, and how it ends."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from discovery.helpers import LONG, Recorder, wait_until
from thrift_client.discovery import (
    CallableSource,
    Member,
    Policy,
    Reading,
    Source,
    SourceError,
)
from thrift_client.errors import ThriftClientError


def members_of(values):
    """Return the members that addresses stand for."""
    return tuple(map(Member.of, values))


class Scripted(Source):
    """A source whose list is set by the test."""

    def __init__(self, **policy):
        super().__init__('scripted', Policy(**({'retry': 20, 'max_retry': 40} | policy)))
        self.says = []
        self.reads = 0
        self.closed = threading.Event()
        self.interrupted = threading.Event()

    def open(self, wake):
        self.wake = wake
        return self

    def read(self):
        self.reads += 1
        if isinstance(self.says, Exception):
            raise self.says
        if callable(self.says):
            return self.says()
        return Reading(members_of(self.says), None)

    def interrupt(self):
        self.interrupted.set()

    def close(self):
        self.closed.set()

    def say(self, what):
        self.says = what
        self.wake()


@pytest.fixture
def source():
    """A source that lists two servers."""
    source = Scripted()
    source.says = ['kv:1', 'kv:2']
    return source


def test_lists_are_told_when_they_change(source, recorder, watch):
    """The first list comes unasked, a later one only if it differs."""
    watch(source)
    recorder.wait_names('kv:1', 'kv:2')
    source.say(['kv:2', 'kv:1'])
    source.say(['kv:3'])
    recorder.wait_names('kv:3')
    assert len(recorder.updates) == 2
    assert not recorder.troubles


@pytest.mark.parametrize('trouble', [OSError('cut'), []], ids=['unreachable', 'empty'])
def test_what_is_lost_keeps_working(source, recorder, watch, caplog, trouble):
    """A failure or an empty list is told and logged once, tried again, and changes nothing."""
    caplog.set_level(logging.INFO, 'thrift_client.discovery')
    watch(source)
    recorder.wait_names('kv:1', 'kv:2')
    source.say(trouble)
    before = source.reads
    recorder.wait_for(lambda: recorder.troubles)
    end = time.monotonic() + LONG
    while source.reads < before + 3 and time.monotonic() < end:
        time.sleep(0.01)  # no event shows a try that fails like the one before
    assert source.reads >= before + 3
    source.says = ['kv:2', 'kv:3']
    recorder.wait_names('kv:2', 'kv:3')
    assert len(recorder.updates) == 2
    (told,) = recorder.troubles
    assert isinstance(told, SourceError)
    assert isinstance(told, ThriftClientError)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ('WARNING', f'{told}; keeping the last 2 servers'),
        ('INFO', 'scripted works again'),
    ]


class Incomparable:
    """Metadata whose comparison fails, as that of an array does."""

    def __eq__(self, other):
        raise ValueError('incomparable')

    __hash__ = None


@pytest.mark.parametrize('says', [[5], Incomparable], ids=['no members', 'incomparable'])
def test_a_list_that_cannot_be_used_is_a_failure(source, recorder, watch, says):
    """It is told, it changes nothing, and the watch reads on."""
    if says is Incomparable:
        odd = [Member('kv:1', metadata={'zone': Incomparable()}) for _ in range(2)]
        source.says = odd[:1]
        watch(source)
        recorder.wait_names('kv:1')
        source.say(odd[1:])
    else:
        watch(source)
        recorder.wait_names('kv:1', 'kv:2')
        source.say(lambda: Reading(tuple(says), None))
    recorder.wait_for(lambda: recorder.troubles)
    source.say(['kv:3'])
    recorder.wait_names('kv:3')
    assert len(recorder.updates) == 2
    assert len(recorder.troubles) == 1


def test_an_empty_list_may_empty(recorder, watch):
    """With allow_empty=True, the listener gets the empty list."""
    source = Scripted(allow_empty=True)
    source.says = ['kv:1']
    watch(source)
    recorder.wait_names('kv:1')
    source.say([])
    recorder.wait_names()
    assert not recorder.troubles


def test_a_grace_ends_by_itself(recorder, watch):
    """A member that is missing is dropped when its time is over, without a new reading."""
    source = Scripted(grace=50)
    source.says = ['kv:1', 'kv:2']
    watch(source)
    recorder.wait_names('kv:1', 'kv:2')
    source.say(['kv:1'])
    recorder.wait_names('kv:1')
    assert source.reads == 2


def test_a_listener_that_fails_is_logged(source, watch, caplog):
    """A listener's exception is logged, and it still gets the next list."""

    class Fussy(Recorder):
        def update(self, members):
            super().update(members)
            raise RuntimeError('no more servers, please')

    listener = Fussy()
    watch(source, listener)
    listener.wait_names('kv:1', 'kv:2')
    source.say(['kv:3'])
    listener.wait_names('kv:3')
    assert 'a listener failed' in caplog.text


def test_close_ends_everything_and_tells_nothing_more(source, recorder, watch):
    """After close there is no thread, the reader is closed, and closing again does nothing."""
    watching = watch(source)
    recorder.wait_names('kv:1', 'kv:2')
    watching.close()
    assert source.closed.is_set()
    assert source.interrupted.is_set()
    assert not [each for each in threading.enumerate() if 'scripted' in each.name]
    source.say(['kv:3'])
    watching.close()
    assert len(recorder.updates) == 1
    assert 'closed' in repr(watching)


def test_a_listener_may_close(source, recorder):
    """A watch can be closed from within what it tells."""

    class Leaver(Recorder):
        def update(self, members):
            watching.close()
            super().update(members)

    ready = threading.Event()
    source.says = lambda: ready.wait(LONG) and Reading(members_of(['kv:1']), None)
    listener = Leaver()
    watching = source.watch(listener)
    ready.set()
    listener.wait_names('kv:1')
    assert source.closed.wait(LONG)


def test_close_does_not_wait_for_what_cannot_be_interrupted(recorder):
    """A function that hangs doesn't delay close, and tells nothing when it ends."""
    inside, leave = threading.Event(), threading.Event()

    def hang():
        inside.set()
        leave.wait(LONG)
        return ['kv:1']

    watching = CallableSource(hang).watch(recorder)
    assert inside.wait(LONG)
    started = time.monotonic()
    watching.close()
    assert time.monotonic() - started < 0.1
    leave.set()
    wait_until(lambda: not [each for each in threading.enumerate() if 'hang' in each.name])
    assert not recorder.updates


def test_a_collected_listener_ends_the_watch(source):
    """A source doesn't keep a pool alive that was not closed."""
    listener = Recorder()
    watching = source.watch(listener)
    listener.wait_names('kv:1', 'kv:2')
    gone = weakref.ref(listener)
    del listener
    gc.collect()
    assert gone() is None
    assert source.closed.wait(LONG)
    watching.close()


def test_a_source_can_be_watched_by_many(source, watch):
    """Each watch has a reader and a thread of its own."""
    listeners = [Recorder() for _ in range(3)]
    functions = CallableSource(lambda: ['kv:1'])
    for listener in listeners:
        watch(functions, listener)
    for listener in listeners:
        listener.wait_names('kv:1')


def test_a_function_is_asked_at_its_interval(recorder, watch):
    """Its list replaces the previous one; an exception or a value that isn't a list is trouble."""
    answers = iter([['kv:1'], ValueError('no'), ['kv:2'], 'kv:3', ['kv:4']])

    def ask():
        answer = next(answers, ['kv:4'])
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch(CallableSource(ask, interval=20, retry=20, max_retry=20))
    recorder.wait_names('kv:4')
    assert [update[0].name for update in recorder.updates] == ['kv:1', 'kv:2', 'kv:4']
    said = [str(trouble.__cause__) for trouble in recorder.troubles]
    assert said == ['no', 'servers must be a list, not str']


@pytest.mark.needs('fork')
def test_a_forked_child_closes_without_waiting(source, recorder, watch):
    """A watch's thread isn't there in a child; closing it there touches nothing."""
    watching = watch(source)
    recorder.wait_names('kv:1', 'kv:2')
    child = os.fork()
    if child == 0:
        try:
            started = time.monotonic()
            watching.close()
            quick = time.monotonic() - started < 0.5
            os._exit(0 if quick and not source.interrupted.is_set() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    source.say(['kv:3'])
    recorder.wait_names('kv:3')


def test_a_watch_never_holds_the_interpreter():
    """A process whose source hangs ends at once, without a traceback."""
    program = """
import threading
from thrift_client import discovery
class Listener:
    def update(self, members): told.set()
    def trouble(self, exception): pass
told, listener = threading.Event(), Listener()
def hang(asked=[]):
    if asked:
        threading.Event().wait()
    asked.append(1)
    return ['kv:1']
watch = discovery.source(hang, interval=1).watch(listener)
told.wait(10)
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_nothing_is_read_once_the_main_thread_has_ended():
    """The user's last threads run on; watches end, and no new one begins."""
    program = """
import threading
from thrift_client import BalancedClient, discovery, errors
from test_if import test_service
def ask():
    asked.set()
    return ['127.0.0.1:1']
def late():
    assert first.wait(10)
    threading.main_thread().join()
    asked.clear()
    assert not asked.wait(0.2)
    try:
        BalancedClient(test_service, servers=discovery.source(ask)).ping()
    except errors.NoServersError as exc:
        print(exc)
asked, first = threading.Event(), threading.Event()
pool = BalancedClient(test_service, servers=discovery.source(ask, interval=10))
threading.Thread(target=late).start()
asked.wait(10)
first.set()
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=LONG, check=False,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    assert 'it cannot be followed: the main thread has ended' in done.stdout
