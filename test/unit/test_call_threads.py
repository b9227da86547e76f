"""The threads of `bench` and `replay`."""

import signal
import threading

import pytest

from thrift_client.cli.commands.load import CallThreads


@pytest.mark.needs('interval timers')
@pytest.mark.parametrize('threads', [1, 2])
def test_calls_under_way_are_waited_for_after_ctrl_c(threads):
    """Ctrl-C while the main thread waits doesn't make a thread look ended."""
    begun, released = threading.Barrier(threads + 1), threading.Event()

    class Calling(CallThreads):
        def work(self, _index):
            begun.wait(20)
            released.wait(20)

    calling = Calling(threads)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        calling.start()
        begun.wait(20)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            calling.wait(20)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not calling.wait(0)
    released.set()
    assert calling.wait(20)
