"""The list of all error messages: it is current, and each has its cause."""

import importlib.util
import sys

import pytest

from docs.blocks import DOCS


@pytest.fixture(scope='module')
def listed():
    """The script that writes the list."""
    spec = importlib.util.spec_from_file_location('error_messages', DOCS / 'error_messages.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['error_messages'] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(listed):
    """The page has the texts of the source; `make error-messages` writes it again."""
    assert listed.PAGE.read_text() == listed.page()


def test_each_error_of_a_call_has_a_cause(listed):
    """No message is without its cause, and what to do is there or in the error's own hint."""
    own = [each for each in listed.messages() if each.kind in listed.OWN]
    assert len(own) > 80
    for message in own:
        if message.kind != 'IdlError':
            found = listed.cause_of(message)
            assert found, message
            assert found.get('cure') or message.hint.strip(listed.OPEN), message


def test_each_cause_is_of_a_message(listed):
    """A row that fits no message any more has to go."""
    messages = [each for each in listed.messages() if each.kind in listed.OWN]
    used = [listed.cause_of(each) for each in messages]
    assert [row for row in listed.KNOWN['causes'] if row not in used] == []


def test_every_error_class_has_messages(listed):
    """Each class of `thrift_client.errors` is created somewhere with a text."""
    assert {each.kind for each in listed.messages()} >= set(listed.OWN) - {'ThriftClientError'}


def test_each_mistake_of_a_caller_is_under_a_heading(listed):
    """A module that raises builtin exceptions belongs to an area, or never lets them out."""
    internal = tuple(listed.KNOWN['internal'])
    for message in listed.messages():
        if message.kind not in listed.OWN and not message.module.startswith(internal):
            assert listed.area_of(message.module), message
