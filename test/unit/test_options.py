"""Options: what each takes, what it refuses, and what a URL says."""

import ast
import inspect
from importlib.resources import files

import pytest

from test_if import test_service
from thrift_client import SimpleClient
from thrift_client.core.scatter import FAN_OPTIONS
from thrift_client.discovery import CallableSource, etcd, zookeeper
from thrift_client.discovery.stable import PolicyOptions
from thrift_client.discovery.urls import _SCHEMES, RegisterOptions, SourceOptions
from thrift_client.options import CALL_OPTIONS, OPTIONS
from thrift_client.sync.apache_transport import ACCEPTED

DURATIONS = ['timeout', 'connect_timeout', 'idle_timeout', 'max_age']
COUNTS = {
    'max_connections': 1,
    'max_idle': 0,
    'max_message_size': 1,
    'max_container_length': 0,
}


def make(host='h:1', **options):
    """Make a client, which connects to nothing."""
    return SimpleClient(test_service, host, **options)


def test_the_defaults_of_attributes():
    """A timeout of a minute, and no frames."""
    client = make()
    assert (client.timeout, client.frame) == (60000, False)


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', [1, 0.5, 10**12, None])
def test_a_duration_is_above_0_or_none(name, value):
    """Durations are in ms, as int or float."""
    client = make(**{name: value})
    assert name != 'timeout' or client.timeout == value


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', [0, -1, float('nan'), float('-inf')])
def test_a_duration_of_0_or_less_is_a_value_error(name, value):
    """The text names the option."""
    with pytest.raises(ValueError, match=name):
        make(**{name: value})


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', ['5', True, [5]])
def test_a_duration_is_a_number(name, value):
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match=name):
        make(**{name: value})


@pytest.mark.parametrize(('name', 'least'), COUNTS.items())
def test_a_count_has_a_least_value(name, least):
    """A count is an int of at least its minimum."""
    make(**{name: least})
    with pytest.raises(ValueError, match=name):
        make(**{name: least - 1})
    for wrong in ('5', 1.5, True):
        with pytest.raises(TypeError, match=name):
            make(**{name: wrong})


@pytest.mark.parametrize(
    ('name', 'wrong', 'near'),
    [('protocol', 'Compact', 'compact'), ('transport', 'frame', 'framed')],
)
def test_a_name_is_one_of_a_few(name, wrong, near):
    """A ValueError lists them and names the nearest."""
    with pytest.raises(ValueError, match=near):
        make(**{name: wrong})
    with pytest.raises(TypeError, match='factory'):
        make(**{name: 5})


@pytest.mark.parametrize(('name', 'near'), [('time_out', 'timeout'), ('max_idel', 'max_idle')])
def test_an_unknown_option_is_a_type_error(name, near):
    """It names the nearest."""
    with pytest.raises(TypeError, match=f'{name}.*{near}'):
        make(**{name: 1})


@pytest.mark.parametrize(
    'names',
    [
        {'deadline': 'X', 'attempt': 'X'}, {'deadline': 'X-Time', 'attempt': 'x-time'},
        {'deadline': ''}, {'attempt': None}, {'budget': 'X'},
    ],
)  # fmt: skip
def test_propagate_deadline_takes_different_header_names(names):
    """Names of headers have no case: two that are the same would send one value."""
    make(transport='header', propagate_deadline={'deadline': 'X', 'attempt': 'Y'})
    with pytest.raises(ValueError, match='propagate_deadline must be True or a dict of different'):
        make(transport='header', propagate_deadline=names)


def test_a_view_has_other_options():
    """What it isn't given stays."""
    client = make(timeout=5)
    assert client.with_options(timeout=7).timeout == 7
    assert client.with_options(idempotent=True).timeout == 5
    assert client.with_options(timeout=None).timeout is None
    assert client.timeout == 5


def test_frame_is_the_framed_transport():
    """It contradicts every other one."""
    assert make(frame=True).frame
    assert make(transport='framed').frame
    assert make(frame=True, transport='framed').frame
    assert not make(transport='buffered').frame
    with pytest.raises(ValueError, match='buffered'):
        make(frame=True, transport='buffered')


@pytest.mark.parametrize(
    ('query', 'attribute', 'expected'),
    [
        ('timeout=2000', 'timeout', 2000),
        ('timeout=0.5', 'timeout', 0.5),
        ('timeout=none', 'timeout', None),
        ('max_idle=0&max_container_length=7', 'timeout', 60000),
        ('protocol=compact', 'frame', False),
        ('frame=1', 'frame', True),
        ('frame=true', 'frame', True),
        ('frame=off', 'frame', False),
        ('frame=0&protocol=header', 'frame', False),
    ],
)
def test_a_url_carries_options(query, attribute, expected):
    """Its key is the option's name; the text is read as a value of the option's type."""
    client = make(f'thrift://h?{query}')
    assert getattr(client, attribute) == expected
    assert client.name == 'thrift://h'


@pytest.mark.parametrize(
    ('key', 'text'),
    [('timeout', 'soon'), ('timeout', '0'), ('max_idle', '1.5'), ('max_idle', '-1'),
     ('frame', 'maybe'), ('protocol', 'json5'), ('timout', '5'), ('timeout', '')],
)  # fmt: skip
def test_a_wrong_option_in_a_url_is_a_value_error(key, text):
    """It names the option: a URL is a value, whatever is wrong with it."""
    with pytest.raises(ValueError, match=key):
        make(f'thrift://h?{key}={text}')


@pytest.mark.parametrize(
    ('name', 'one'), [('idempotent', 'getk'), ('listeners', print)], ids=['idempotent', 'listeners']
)
def test_a_list_may_be_anything_that_is_read_once(name, one):
    """A generator counts as a list; what can't be iterated is a TypeError with the name."""
    make(**{name: (each for each in (one,))})
    for wrong in (5, None):
        with pytest.raises(TypeError, match=f'{name} must be'):
            make(**{name: wrong})


def test_an_unknown_method_is_a_value_error():
    """Options that name methods raise ValueError for an unknown one."""
    for option in ({'idempotent': ['gett']}, {'timeouts': {'gett': 5}}):
        with pytest.raises(ValueError, match=r'gett.*getk'):
            make(**option)


#: The types of options in the stub, and the names that each adds to those of its base.
TYPED = {
    'ClientOptions': {*OPTIONS} - {'timeout'},  # it is an argument
    'ServerOptions': {'frame', 'timeout'},
    'PerCallOptions': {*CALL_OPTIONS},
    'WaitOptions': {*FAN_OPTIONS} - {'merge'},
    'FanOptions': {'merge'},
    'TransportOptions': {*ACCEPTED} - {'timeout'},
}


@pytest.mark.parametrize('kind', TYPED)
def test_type_checkers_know_each_option(kind):
    """The types that constructors, views and servers of a pool unpack have the table's options."""
    tree = ast.parse(files('thrift_client').joinpath('typed_options.pyi').read_text())
    stubs = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    fields = [node for node in stubs[kind].body if isinstance(node, ast.AnnAssign)]
    assert {node.target.id for node in fields} == TYPED[kind]


@pytest.mark.parametrize(
    ('kind', 'makers'),
    [
        (SourceOptions, [*(made_by.__init__ for made_by, _ in _SCHEMES.values()), CallableSource]),
        (RegisterOptions, [zookeeper.register, etcd.register]),
    ],
)
def test_type_checkers_know_the_options_of_sources(kind, makers):
    """Those of all classes of sources and registries; the scheme says whether it is TLS."""
    found = {
        parameter.name
        for maker in makers
        for parameter in inspect.signature(maker).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    shared = {*PolicyOptions.__annotations__} if kind is SourceOptions else set()
    assert {*kind.__annotations__} == found - {'tls'} | shared
