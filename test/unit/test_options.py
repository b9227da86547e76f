"""The table of options: what each takes, what it refuses, and what a URL says."""

import pytest

from thrift_client.options import OPTIONS, Options, with_frame
from thrift_client.texts import from_query

DEFAULTS = {
    'timeout': 60000, 'protocol': 'binary', 'transport': 'buffered', 'connect_timeout': None,
    'max_idle': 8, 'idle_timeout': 60000, 'max_message_size': 16384000,
    'max_container_length': None,
}  # fmt: skip
DURATIONS = ['timeout', 'connect_timeout', 'idle_timeout']
COUNTS = {'max_idle': 0, 'max_message_size': 1, 'max_container_length': 0}


@pytest.mark.parametrize('name', DEFAULTS)
def test_the_defaults_are_the_contracts(name):
    """And each option has a text that says what it is."""
    assert getattr(Options({}), name) == DEFAULTS[name]
    assert OPTIONS[name].text


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', [1, 0.5, 10**12, None])
def test_a_duration_is_above_0_or_none(name, value):
    """In milliseconds, whole or not."""
    assert getattr(Options({name: value}), name) == value


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', [0, -1, float('nan'), float('-inf')])
def test_a_duration_of_0_or_less_is_a_value_error(name, value):
    """The text names the option."""
    with pytest.raises(ValueError, match=name):
        Options({name: value})


@pytest.mark.parametrize('name', DURATIONS)
@pytest.mark.parametrize('value', ['5', True, [5]])
def test_a_duration_is_a_number(name, value):
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match=name):
        Options({name: value})


@pytest.mark.parametrize(('name', 'least'), COUNTS.items())
def test_a_count_has_a_least_value(name, least):
    """And is an int."""
    assert getattr(Options({name: least}), name) == least
    with pytest.raises(ValueError, match=name):
        Options({name: least - 1})
    for wrong in ('5', 1.5, True):
        with pytest.raises(TypeError, match=name):
            Options({name: wrong})


@pytest.mark.parametrize(
    ('name', 'wrong', 'near'),
    [('protocol', 'Compact', 'compact'), ('transport', 'frame', 'framed')],
)
def test_a_name_is_one_of_a_few(name, wrong, near):
    """A ValueError lists them and names the nearest."""
    with pytest.raises(ValueError, match=near):
        Options({name: wrong})
    with pytest.raises(TypeError, match='factory'):
        Options({name: 5})


@pytest.mark.parametrize(('name', 'near'), [('time_out', 'timeout'), ('max_idel', 'max_idle')])
def test_an_unknown_option_is_a_type_error(name, near):
    """It names the nearest."""
    with pytest.raises(TypeError, match=f'{name}.*{near}'):
        Options({name: 1})


def test_options_are_immutable():
    """`replace` makes others; what was not given keeps following the defaults."""
    options = Options({'timeout': 5})
    with pytest.raises(AttributeError):
        options.timeout = 6
    assert options.replace({'max_idle': 1}).timeout == 5
    assert options.replace({'timeout': None}).timeout is None
    assert (options.timeout, options.max_idle) == (5, 8)
    with pytest.raises(AttributeError):
        options.no_such_option  # noqa: B018 - looking it up is the test


def test_frame_is_the_framed_transport():
    """It contradicts every other one."""
    assert with_frame({}, True) == {'transport': 'framed'}
    assert with_frame({'transport': 'framed'}, True) == {'transport': 'framed'}
    assert with_frame({'transport': 'buffered'}, False) == {'transport': 'buffered'}
    with pytest.raises(ValueError, match='buffered'):
        with_frame({'transport': 'buffered'}, True)


@pytest.mark.parametrize(
    ('key', 'text', 'expected'),
    [
        ('timeout', '2000', {'timeout': 2000}),
        ('timeout', '0.5', {'timeout': 0.5}),
        ('timeout', 'none', {'timeout': None}),
        ('max_idle', '0', {'max_idle': 0}),
        ('max_container_length', '7', {'max_container_length': 7}),
        ('protocol', 'compact', {'protocol': 'compact'}),
        ('frame', '1', {'transport': 'framed'}),
        ('frame', 'true', {'transport': 'framed'}),
        ('frame', 'off', {}),
    ],
)
def test_a_url_carries_an_option(key, text, expected):
    """Its key is the option's name; a text stands for a value of the option's type."""
    assert from_query([(key, text)]) == expected


@pytest.mark.parametrize(
    ('key', 'text'),
    [('timeout', 'soon'), ('timeout', '0'), ('max_idle', '1.5'), ('max_idle', '-1'),
     ('frame', 'maybe'), ('protocol', 'json5'), ('timout', '5'), ('timeout', '')],
)  # fmt: skip
def test_a_wrong_option_in_a_url_is_a_value_error(key, text):
    """It names the option: a URL is a value, whatever is wrong with it."""
    with pytest.raises(ValueError, match=key):
        from_query([(key, text)])


@pytest.mark.parametrize(
    ('name', 'one'), [('idempotent', 'getk'), ('listeners', print)], ids=['idempotent', 'listeners']
)
def test_a_list_may_be_anything_that_is_read_once(name, one):
    """A generator counts as what it gives; what gives nothing is a TypeError with the name."""
    assert list(getattr(Options({name: (each for each in (one,))}), name)) == [one]
    for wrong in (5, None):
        with pytest.raises(TypeError, match=f'{name} must be'):
            Options({name: wrong})
