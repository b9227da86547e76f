"""The arguments of a call, from what is written on a command line."""

import json

import click
import pytest

from rich_if import rich_service
from thrift_client.cli import arguments
from thrift_client.core.service import service_of

SERVICE = service_of(rich_service)


@pytest.mark.parametrize('method', SERVICE.methods.values(), ids=lambda method: method.name)
def test_every_skeleton_fits_its_method(method):
    """A skeleton is a call that can be bound, and its JSON is JSON."""
    skeleton = json.dumps(arguments.skeleton(method))
    assert arguments.read(method, [skeleton]).keys() == set(method.parameters)


@pytest.mark.parametrize(
    ('method', 'text', 'said'),
    [
        ('add', '{"a": 1, "c": 2}', "add has no argument 'c'"),
        ('add', '[1, "two"]', "b: expected i32, not 'two': no enum has a member 'two'"),
        ('add', '[1, 4294967296]', 'b: 4294967296 is out of range for i32'),
        ('add', '[1, true]', 'b: expected i32, not True'),
        ('add', '[1, 2, 3]', 'add takes 2 arguments, not 3'),
        ('add', '{1: 2}', "add has no argument '1'; it has a, b"),
        ('echo', '[a, b]', 'echo takes 1 argument, not 2'),
        ('add', '{"a": 1, "a": 2}', "'a' is twice in one object"),
        ('add', '{a: [', 'neither JSON nor YAML'),
        ('add', '7', "add needs 'b' too: {\"a\": 0, \"b\": 0}"),
        ('raw', '["not base64"]', 'value: expected binary as base64'),
        ('echo', '[3]', 's: expected a string, not 3'),
        ('tags', '[a]', "value: expected a list for set<string>, not 'a'"),
        ('store', '[3]', 'smalls: expected an object for map<string, Small>'),
        ('flag', '[2]', 'value: expected true or false, not 2'),
        ('real', '[x]', "value: expected a number, not 'x'"),
        ('real', f'[1{"0" * 400}]', 'value: expected a number that fits a double, not 1000'),
    ],
)
def test_arguments_that_do_not_fit_are_told_where(method, text, said):
    """The text begins with the path to what is wrong, in words of the call."""
    with pytest.raises(click.UsageError) as caught:
        arguments.read(SERVICE.methods[method], [text])
    assert said in str(caught.value)


@pytest.mark.parametrize('text', ['no', 'yes', '2026-01-01', '1_000 m', 'off', '~x'])
def test_words_of_yaml_are_strings(text):
    """YAML's older words for truth, and dates, are what they look like."""
    assert arguments.parse(f'a: {text}') == {'a': text}

