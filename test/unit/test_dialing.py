"""Look-ups that can't begin."""

import threading

import pytest

from thrift_client import dialing
from thrift_client.errors import ResolveError


def test_a_look_up_without_a_thread_fails_and_is_forgotten(monkeypatch):
    """No thread can be started; once one can be, the name is looked up."""

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        lookup = dialing.look_up('localhost', 9090)
        told = []
        lookup.tell(lambda: told.append(True))
        assert told
        with pytest.raises(ResolveError, match="can't start new thread"):
            lookup.result()
    again = dialing.look_up('localhost', 9090)
    assert again.done.wait(10)
    assert again.result()
