"""The values of options, from what is written on a command line."""

import click
import pytest

from thrift_client.cli.texts import UNWRITTEN, OptionType
from thrift_client.options import OPTIONS

#: Options of which any text is a value, and the one that is on or off.
ANY_TEXT = {'headers', 'idempotent', 'log_filename', 'server_hostname', 'service_name', 'ssl'}


@pytest.mark.parametrize('name', sorted(set(OPTIONS) - UNWRITTEN - ANY_TEXT))
def test_an_invalid_value_is_a_usage_error(name):
    """The option itself checks the value."""
    with pytest.raises(click.BadParameter):
        OptionType(name).convert('no=no such', None, None)


def test_sasl_values_are_text():
    """A password that looks like a number or a boolean is kept as text."""
    given = OptionType('sasl').convert('mechanism=PLAIN,username=on,password=0123', None, None)
    assert given.value == {'mechanism': 'PLAIN', 'username': 'on', 'password': '0123'}
