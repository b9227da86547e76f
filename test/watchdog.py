"""Ends a test that hangs, reports the stacks of all threads, and lets the run continue.

pytest-timeout reads the settings and the marks, and this plugin ends the test. The methods of
pytest-timeout don't fit here: `signal` runs an interval timer, which changes how the package
waits and which collides with tests that use SIGALRM; `thread` ends the whole process.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback

import pytest
import pytest_timeout

#: A signal that Python, asyncio, gevent and the tests leave alone; None where threads can't be
#: sent one (Windows). There, a test that hangs ends its process.
SIGNAL = None
if hasattr(signal, 'pthread_kill'):
    SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, 'SIGRTMIN') else signal.SIGXCPU
AGAIN_S = 10
EXIT_S = 30
_NAME = 'watchdog of '


class Watchdog:
    """A pytest plugin that fails a test in its main thread once its timeout has passed.

    The failure is raised by a signal handler, which interrupts whatever the main thread waits
    for. It is raised again every `again` seconds, for a teardown that hangs, too. `leave` seconds
    after the timeout the process ends, with all stacks on stderr: the test swallows exceptions
    or never returns to the interpreter. pytest-xdist then fails the test and replaces the worker.
    """

    def __init__(self, again=AGAIN_S, leave=EXIT_S):
        self._again = again
        self._leave = leave
        self._stderr = os.dup(2)  # pytest's capturing replaces descriptor 2 while tests run
        self._watched = None
        self._in_phase = self._over = False
        if SIGNAL is not None:
            signal.signal(SIGNAL, self._fail)

    def pytest_unconfigure(self):
        """Give the signal and the descriptor back."""
        self._stop()
        if SIGNAL is not None:
            signal.signal(SIGNAL, signal.SIG_DFL)
        os.close(self._stderr)

    def pytest_timeout_set_timer(self, item, settings):
        """Begin to watch a test."""
        self._over = False
        self._watched = _Watched(item.nodeid, settings, self._again, self._stderr)
        if SIGNAL is not None:
            self._watched.start()
        faulthandler.dump_traceback_later(
            settings.timeout + self._leave, exit=True, file=self._stderr
        )
        return True  # nor does pytest-timeout set a timer

    def pytest_timeout_cancel_timer(self, item):
        """Stop watching at the end of a test, or where a debugger is entered."""
        # pytest-timeout also calls this when a test has failed; its teardown may hang all the same.
        if not self._over and not item.config.option.usepdb:
            return True
        self._stop()
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self):
        """Fail the setup if it hangs."""
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self):
        """Fail the test if it hangs."""
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self):
        """Fail the teardown if it hangs; after it the test is over."""
        try:
            return (yield from self._phase())
        finally:
            self._over = True

    def _phase(self):
        # pytest reports what is raised within a phase, and breaks off for what is raised outside.
        self._in_phase = True
        try:
            return (yield)
        finally:
            self._in_phase = False

    def _stop(self):
        if self._watched is not None:
            faulthandler.cancel_dump_traceback_later()
            self._watched.stop()
            self._watched = None

    def _fail(self, _signum, frame):
        if not self._in_phase or self._watched is None:
            return
        settings = self._watched.settings
        if not settings.disable_debugger_detection and pytest_timeout.is_debugging():
            self._stop()
            return
        pytest.fail(
            f'still running after {settings.timeout:g} s; the stacks of all threads:\n'
            f'{_stacks(frame)}'
        )


class _Watched(threading.Thread):
    """Sends the signal to the main thread when the time of a test is up."""

    def __init__(self, name, settings, again, stderr):
        super().__init__(name=f'{_NAME}{name}', daemon=True)
        self.settings = settings
        self._test = name
        self._again = again
        self._stderr = stderr
        self._over = threading.Event()

    def run(self):
        """Send it once, and again while the test still runs."""
        wait = self.settings.timeout
        while not self._over.wait(wait):
            signal.pthread_kill(threading.main_thread().ident, SIGNAL)
            os.write(self._stderr, f'\n{self._test} hangs\n'.encode())
            wait = self._again

    def stop(self):
        """End the thread."""
        self._over.set()
        if self.ident is not None:
            self.join()


def _stacks(main):
    frames = sys._current_frames() | {threading.main_thread().ident: main}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return '\n'.join(
        f'-- {names.get(ident, ident)}\n{"".join(traceback.format_stack(frame))}'
        for ident, frame in frames.items()
        if not names.get(ident, '').startswith(_NAME)
    )
