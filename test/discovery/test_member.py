"""Members in every form that sources may use."""

import copy
import dataclasses
import pickle

import pytest

from thrift_client.discovery import Member, StaticSource

FORMS = [
    ('kv:9090', Member('kv:9090')),
    ('[::1]:9090', Member('[::1]:9090')),
    ('unix:/run/kv.sock', Member('unix:/run/kv.sock')),
    (('kv', 9090), Member('kv:9090')),
    (['::1', 9090], Member('[::1]:9090')),
    ({'address': 'kv:9090'}, Member('kv:9090')),
    ({'host': 'kv', 'port': 9090, 'weight': 2}, Member('kv:9090', weight=2)),
    ({'host': '::1', 'port': 9090, 'name': 'one'}, Member('[::1]:9090', 'one')),
    ({'Addr': 'kv:9090', 'Metadata': None}, Member('kv:9090')),
    ({'address': 'kv:9090', 'metadata': {'zone': 'a'}}, Member('kv:9090', metadata={'zone': 'a'})),
    (Member('kv:1', 'x'), Member('kv:1', 'x')),
]


@pytest.mark.parametrize(('value', 'member'), FORMS, ids=repr)
def test_forms(value, member):
    """Each form is read as the member that it means."""
    assert Member.of(value) == member



BROKEN = [
    '',
    'kv:0',
    'kv:70000',
    'ftp://kv',
    7,
    None,
    ('kv', '9090'),
    ('kv', True),
    ('kv', 1, 2),
    {},
    {'host': 'kv'},
    {'address': 9090},
    {'address': 'kv:1', 'wieght': 2},
    {'address': 'kv:1', 'weight': 0},
    {'address': 'kv:1', 'weight': -1},
    {'address': 'kv:1', 'weight': '2'},
    {'address': 'kv:1', 'weight': float('nan')},
    {'address': 'kv:1', 'weight': 1e308},
    {'address': 'kv:1', 'weight': 10**400},
    {'address': 'kv:1', 'weight': True},
    {'address': 'kv:1', 'name': 5},
    {'address': 'kv:1', 'metadata': [1]},
]


@pytest.mark.parametrize('value', BROKEN, ids=lambda value: repr(value)[:60])
def test_what_is_not_a_server_is_a_value_error(value):
    """The error says what is wrong with it."""
    with pytest.raises(ValueError, match=r'.'):
        Member.of(value)


def nested(value, levels):
    """Return a value inside as many lists or mappings."""
    for _ in range(levels):
        value = {'a': value} if isinstance(value, dict) else [value]
    return value


def repeated(levels):
    """Return a value that stands for 1000 ** levels values, as YAML's aliases make them."""
    value = 'x'
    for _ in range(levels):
        value = [value] * 1000
    return value


ENDLESS = {}
ENDLESS['a'] = ENDLESS

#: Metadata that is refused, and what the error says.
TOO_MUCH = {
    'values': ({'a': [0] * 1000}, 'at most 1000 values'),
    'aliases': ({'a': repeated(30)}, 'at most 1000 values'),
    'levels': ({'a': nested([], 20)}, 'at most 20 levels'),
    'many levels': ({'a': nested({}, 900)}, 'at most 20 levels'),
    'endless': (ENDLESS, 'at most 20 levels'),
}


@pytest.mark.parametrize('case', TOO_MUCH)
def test_metadata_is_bounded(case):
    """Lists are compared whole, so a member must not take long to compare."""
    metadata, said = TOO_MUCH[case]
    with pytest.raises(ValueError, match=said):
        Member('kv:1', metadata=metadata)


def test_metadata_of_the_largest_size():
    """Hundreds of values on several levels are accepted."""
    metadata = {'a': [{'b': 'c' * 10_000, 'd': (1, 2)}] * 150, 'e': nested('f', 18)}
    assert Member('kv:1', metadata=metadata).metadata == metadata


def test_names():
    """A server is named by its address, without what may be secret or change."""
    assert Member('kv').name == 'kv:9090'
    assert Member('thrift://kv?timeout=5').name == 'thrift://kv'
    assert Member('https://u:secret@kv/path?shard=5').name == 'https://kv/path?shard=5'
    assert Member.of('kv:1', 'one').name == 'one'
    assert Member.of({'address': 'kv:1', 'name': 'two'}, 'one').name == 'two'


def test_parts():
    """Host and port are those of the address."""
    assert (Member('[::1]:90').host, Member('[::1]:90').port) == ('::1', 90)
    assert (Member('unix:/a').host, Member('unix:/a').port) == ('/a', None)


def test_a_member_is_a_value():
    """Equal members are one, and none can be changed."""
    zones = {'zone': 'a'}
    member = Member('kv:1', metadata=zones)
    zones['zone'] = 'b'
    assert {member, Member('kv:1', metadata={'zone': 'a'})} == {member}
    with pytest.raises(dataclasses.FrozenInstanceError):
        member.weight = 2
    with pytest.raises(TypeError):
        member.metadata['zone'] = 'b'


@pytest.mark.parametrize(
    'copied', [copy.copy, copy.deepcopy, lambda member: pickle.loads(pickle.dumps(member))]
)
def test_a_member_can_be_copied_and_pickled(copied):
    """The copy is an equal member."""
    member = Member('thrift://kv:1?frame=1', 'one', 2, {'zones': ['a']}, 'kv.test')
    other = copied(member)
    assert other == member
    with pytest.raises(TypeError):
        other.metadata['zone'] = 'b'


def test_repr_hides_credentials():
    """What is logged of a member has no password."""
    assert 'secret' not in repr(Member('https://u:secret@kv/?password=secret'))


@pytest.mark.parametrize('values', ['kv:1', {'a': 1}, 5, None, ['kv:1', 'kv:1'], ['kv:1', 5]])
def test_what_is_not_a_list_of_servers_is_a_value_error(values):
    """A list is accepted or refused as a whole."""
    with pytest.raises(ValueError, match=r'.'):
        StaticSource(values)
