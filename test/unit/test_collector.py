"""The garbage collector while a large message is decoded: paused, and never left so."""

import gc
import os

import pytest

from thrift_client.core import collector


@pytest.fixture(autouse=True)
def collecting():
    """Leave the collector as it was, and have nothing frozen meanwhile."""
    was_on = gc.isenabled()
    gc.enable()
    gc.unfreeze()
    yield
    gc.freeze()
    (gc.enable if was_on else gc.disable)()


def many():
    """A decoded message of so many objects that it is worth making them old."""
    return [[] for _ in range(2 * collector.MANY)]


def is_old(found):
    """Whether the collector has an object among the old ones."""
    return any(each is found for each in gc.get_objects(generation=2))


def test_it_is_paused_while_a_message_is_decoded():
    """It is paused during decoding and continues afterwards."""
    assert collector.without_collector(gc.isenabled) is False
    assert gc.isenabled()


def test_it_goes_on_after_an_exception():
    """It continues, whatever exception ended the decoding."""
    with pytest.raises(ZeroDivisionError):
        collector.without_collector(lambda: 1 / 0)
    assert gc.isenabled()


def test_one_that_is_off_stays_off():
    """It is the user's, who has turned it off."""
    gc.disable()
    assert collector.without_collector(gc.isenabled) is False
    assert not gc.isenabled()


def test_what_the_user_has_frozen_stays_frozen():
    """Objects are made old only where nothing is frozen."""
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        kept = collector.without_collector(many)
        assert gc.get_freeze_count() >= frozen - 1000
        assert not is_old(kept)
    finally:
        gc.unfreeze()


def test_full_collections_still_become_due():
    """Making objects old resets the counts, so it is limited."""
    gc.collect()
    for _ in range(collector.MOST_AGED):
        kept = collector.without_collector(many)
    assert is_old(kept)
    kept = collector.without_collector(many)
    assert not is_old(kept)


def test_few_objects_stay_young():
    """A message of a few large strings costs the collector nothing, whatever is alive."""
    gc.collect()
    assert not is_old(collector.without_collector(list))


@pytest.mark.needs('fork')
def test_a_fork_in_the_middle_leaves_it_on_in_the_child():
    """No thread is left there that would have it go on."""

    def fork():
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, b'1' if gc.isenabled() else b'0')
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader, 'rb') as found:
            return found.read()

    assert collector.without_collector(fork) == b'1'
    assert gc.isenabled()
