"""A file that is followed while it is replaced, broken and removed."""

import json
import os

import pytest

from thrift_client.discovery import FileSource

FAST = {'interval': 20}


def replace(path, text):
    """Write a file atomically: a new file is renamed over it."""
    beside = path.with_suffix('.new')
    beside.write_text(text)
    beside.replace(path)


@pytest.fixture
def path(tmp_path):
    """A file with two servers."""
    path = tmp_path / 'kv.json'
    path.write_text('["kv:2", "kv:1"]')
    return path


@pytest.mark.parametrize('write', [replace, lambda path, text: path.write_text(text)])
def test_a_change_is_seen(path, recorder, watch, write):
    """Replaced or written in place, the file's new list is told, in its order."""
    watch(FileSource(path, **FAST))
    recorder.wait_names('kv:2', 'kv:1')
    for number in range(1, 6):  # of one length, and faster than a time stamp's tick
        write(path, f'["kv:{number}"]')
        recorder.wait_names(f'kv:{number}')
    write(path, json.dumps({'servers': [{'host': 'kv', 'port': 9, 'name': 'one', 'weight': 2}]}))
    recorder.wait_names('one')
    assert recorder.updates[-1][0].weight == 2
    # A file that is written in place can be seen while it is empty.
    assert not recorder.troubles or write is not replace


def test_a_change_that_keeps_size_and_time_is_seen(path, recorder, watch):
    """As by `cp -p`, which gives a file the time of the one that it copies."""

    def write(text):
        path.write_text(text)
        os.utime(path, (1, 1))

    write('["kv:1"]')
    watch(FileSource(path, **FAST))
    recorder.wait_names('kv:1')
    write('["kv:2"]')
    recorder.wait_names('kv:2')


@pytest.mark.parametrize(
    'text', ['', '["kv:1"', '[]', '{"server": []}', '["kv:1", "kv:1"]', '[5]', '"kv:1"', '\ud800']
)
def test_a_broken_file_changes_nothing(path, recorder, watch, text):
    """The last good list stays until the file is right again."""
    watch(FileSource(path, **FAST))
    recorder.wait_names('kv:2', 'kv:1')
    beside = path.with_suffix('.new')
    beside.write_bytes(text.encode('utf-8', 'surrogatepass'))
    beside.replace(path)
    recorder.wait_for(lambda: recorder.troubles)
    assert str(path) in str(recorder.troubles[0])
    replace(path, '["kv:3"]')
    recorder.wait_names('kv:3')
    assert len(recorder.updates) == 2
    assert len(recorder.troubles) == 1


def test_a_file_may_come_later_and_go(tmp_path, recorder, watch):
    """A file that is not there is trouble, before the first list and after."""
    path = tmp_path / 'kv.json'
    watch(FileSource(path, **FAST))
    recorder.wait_for(lambda: recorder.troubles)
    replace(path, '["kv:1"]')
    recorder.wait_names('kv:1')
    path.unlink()
    recorder.wait_for(lambda: len(recorder.troubles) == 2)
    assert 'No such file' in str(recorder.troubles[1])
    assert recorder.names == ['kv:1']


def test_an_empty_file_may_empty(path, recorder, watch):
    """With allow_empty=True, a file may list no server."""
    watch(FileSource(path, allow_empty=True, **FAST))
    recorder.wait_names('kv:2', 'kv:1')
    replace(path, '[]')
    recorder.wait_names()


def test_yaml(tmp_path, recorder, watch):
    """YAML is read safely, by the file's ending."""
    path = tmp_path / 'kv.yaml'
    path.write_text('servers:\n- kv:1\n- {address: "kv:2", metadata: {zone: a}}\n')
    watch(FileSource(path, **FAST))
    recorder.wait_names('kv:1', 'kv:2')
    assert recorder.updates[0][1].metadata == {'zone': 'a'}
    replace(path, '- !!python/object/apply:os.getcwd []\n')
    recorder.wait_for(lambda: recorder.troubles)
    assert recorder.names == ['kv:1', 'kv:2']
