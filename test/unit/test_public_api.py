"""What `import thrift_client` gives: sorted, importable, and shown under its public name."""

import subprocess
import sys

import pytest

import thrift_client
from test_if import test_service

CONTRACT = {
    'HashClient', 'MultiClient', 'ReplicatedClient', 'SimpleClient', 'ThreadedHashClient',
    'ThreadedReplicatedClient', 'ThriftExceptionResponse', 'ThriftPool', 'ThriftResponse',
    'deadline', 'errors',
}  # fmt: skip
MODULES = [thrift_client, thrift_client.errors]


@pytest.mark.smoke
def test_the_names_of_the_contract_are_there():
    """Whatever else is added."""
    assert set(thrift_client.__all__) >= CONTRACT


@pytest.mark.parametrize('module', MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_and_importable(module):
    """No name twice, none that isn't there."""
    names = list(module.__all__)
    assert names == sorted(set(names))
    for name in names:
        assert getattr(module, name) is not None


def test_all_and_dir_agree():
    """What is public is listed."""
    assert set(thrift_client.__all__) <= set(dir(thrift_client))


@pytest.mark.parametrize('name', sorted(CONTRACT - {'errors', 'MultiClient'}))
def test_a_public_name_is_documented(name):
    """Each class has a docstring and its own name."""
    public = getattr(thrift_client, name)
    assert public.__doc__
    assert public.__name__ == name
    assert public.__module__.split('.')[0] == 'thrift_client'


def test_reprs_say_what_a_thing_is():
    """The class's name and the server's, no address in memory."""
    client = thrift_client.SimpleClient(test_service, 'h:1', name='kv')
    pool = thrift_client.HashClient(test_service)
    response = thrift_client.ThriftResponse(client, 'v', 1.5)
    failed = thrift_client.ThriftExceptionResponse(client, ValueError('no'), 1.5)
    for thing, parts in (
        (client, ('SimpleClient', 'test_service', 'kv', 'h:1')),
        (pool, ('HashClient', 'test_service', '0')),
        (response, ('ThriftResponse', 'kv', "'v'", '1.5 ms')),
        (failed, ('ThriftExceptionResponse', 'kv', "ValueError('no')", '1.5 ms')),
        (thrift_client.deadline(5), ('deadline', '5')),
    ):
        assert all(part in repr(thing) for part in parts)
        assert ' at 0x' not in repr(thing)


def test_multi_client_is_an_alias():
    """MultiClient is an alias for the base class of all pools."""
    assert thrift_client.MultiClient is thrift_client.ThriftPool


def test_an_unknown_name_is_an_attribute_error():
    """It raises what any module raises."""
    with pytest.raises(AttributeError, match='NoSuchClient'):
        thrift_client.NoSuchClient  # noqa: B018 - looking it up is the test


def imported_by(statement):
    """The modules that a new interpreter has after a statement, over those that thrift needs."""
    code = f'import sys; {statement}; print(*sorted(sys.modules))'
    return set(
        subprocess.check_output(
            [sys.executable, '-c', code], text=True, env={'PYTHONPATH': ':'.join(sys.path)}
        ).split()
    )


def test_import_is_cheap():
    """No asyncio, ssl, inspect or dataclasses that thrift itself doesn't load, and no thread."""
    before = imported_by(
        'import thrift.transport.TSocket, thrift.protocol.TBinaryProtocol, '
        'thrift.protocol.TCompactProtocol'
    )
    new = imported_by('import thrift_client; thrift_client.SimpleClient') - before
    heavy = {'asyncio', 'ssl', 'inspect', 'dataclasses', 'concurrent.futures', 'urllib.parse'}
    assert not new & heavy
    assert not {name for name in new if name.startswith(('kazoo', 'h11', 'dns', 'yaml'))}
