"""The list of all error messages: it is current, complete, and each has its cause."""

import importlib.util
import sys

import pytest

from docs.blocks import DOCS
from faults.test_given_back import made
from test_if import test_service
from thrift_client import (
    ApacheTransport,
    BalancedClient,
    HashClient,
    RetryPolicy,
    SimpleClient,
    errors,
    load,
    routing,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import close, raw, reply, silence
from thrift_client.testing.malformed import negative_length


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


def loads(text):
    """Load a file in Thrift's IDL."""

    def attempt(folder):
        (folder / 'wrong.thrift').write_text(text)
        load(folder / 'wrong.thrift')

    return attempt


def follows(source):
    """Call a pool whose source has failed."""

    def attempt(folder):
        (folder / 'empty.json').write_text('[]')
        (folder / 'text.json').write_text('kv-1')
        with ClosedPort() as nothing:
            url = source.format(folder=folder, closed=nothing.address)
            with BalancedClient(test_service, servers=url, timeout=20000) as pool:
                pool.ping()

    return attempt


def client(*args, **options):
    """Create a client of the service."""
    return SimpleClient(test_service, *args, **options)


#: What a user does wrong, by some words of the error, by which its line is searched.
MISTAKES = {
    'has no method': lambda _: client().gettk('a'),
    'method must be a name such as': lambda _: HashClient(test_service).call(len),
    'unknown scheme in': lambda _: client('ftp://h'),
    'not a host name': lambda _: client('h,g'),
    'is not between 1 and 65535': lambda _: client('h', 70000),
    'unknown option': lambda _: client(retries=3),
    'in a URL': lambda _: client('thrift://h?tls=1'),
    'a number of ms (5000 is 5 s)': lambda _: client(timeout='5s'),
    'contradicts transport=': lambda _: client(frame=True, transport='zlib'),
    'has no field': lambda _: RetryPolicy(retries=3),
    '(there are: ': lambda _: HashClient(test_service, routing='ring'),
    'server must be of class': lambda _: HashClient(test_service).remove_server(0),
    'servers must be a list of addresses': lambda _: HashClient(test_service, servers='h:1'),
    'the pool already has a server named': lambda _: HashClient(test_service, servers=['a', 'a']),
    'the pool has no server': lambda _: HashClient(test_service).get_server('a'),
    'the pool has no servers': lambda _: HashClient(test_service).ping(),
    'a source is a URL': lambda _: HashClient(test_service).follow(5),
    'unknown source': lambda _: HashClient(test_service).follow('consul://h'),
    'service must be': lambda _: SimpleClient('shop'),
    'ApacheTransport has no use for': lambda _: ApacheTransport(hedge=None),
    'the list of servers is empty': lambda _: routing.Modulo().table((), ()).index('k'),
    'no such file': lambda folder: load(folder / 'nope.thrift'),
    'a folder, not a file': load,
    'expected a Thrift declaration': loads('?'),
    'expected a declaration (namespace, include': loads('strukt S {}'),
    'expected a type, not': loads('struct S { 1: strng a }'),
    'expected true or false': loads('const bool B = "x"'),
    'include_dirs must be a list': lambda _: load('a.thrift', 'b'),
    'it lists no servers': follows('file:{folder}/empty.json'),
    'it is not a list of servers': follows('file:{folder}/text.json'),
    'it cannot be read': follows('file:{folder}/missing.json'),
    'cannot be reached: ': follows('etcd://{closed}/kv'),
    'not connected to ZooKeeper': follows('zk://{closed}/kv'),
    'cannot resolve': follows('dns://missing.invalid:1'),
}


@pytest.mark.parametrize('words', MISTAKES)
def test_a_mistake_is_found_by_its_words(words, listed, tmp_path):
    """The page has the words of errors that real mistakes and sources cause."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any class
        MISTAKES[words](tmp_path)
    assert words in str(caught.value)
    assert words in listed.PAGE.read_text()


#: What a server does, by some words of the error.
FAULTS = {
    'the server closed the connection': close(),
    'what looks like': raw(b'HTTP/1.1 400 Bad Request\r\n\r\n') + close(),
    'a reply to': reply('x', name='other'),
    'sequence id': reply('x', seqid_by=1),
    'timed out': silence(),
    'the reply is not a Thrift message': negative_length(),
}


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
@pytest.mark.parametrize('words', FAULTS)
def test_a_fault_is_found_by_its_words(words, kind, listed, fault_server):
    """The page has the words of errors of calls, blocking or not."""
    server = fault_server(test_service, FAULTS[words])
    client = made(kind, server.address, timeout=300)
    with client, pytest.raises(errors.ThriftClientError) as caught:
        client.getk('k')
    assert words in str(caught.value)
    assert words in listed.PAGE.read_text()
