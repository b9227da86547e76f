"""Events as log records."""

import logging

import pytest

import thrift_client
from handlers import KeyValue
from test_if import test_service
from thrift_client import CircuitBreaker, errors
from thrift_client.observe import EventLog
from thrift_client.testing import ClosedPort, serve


@pytest.fixture
def records(caplog):
    """Catch all that goes to the adapter's logger."""
    caplog.set_level(logging.DEBUG, 'thrift_client.events')
    return lambda: [each for each in caplog.records if each.name == 'thrift_client.events']


def test_a_call_is_a_record_with_its_facts(kv_server, records):
    """The record has a line for people and fields for machines."""
    with thrift_client.SimpleClient(
        test_service, kv_server.address, name='kv', listeners=[EventLog()]
    ) as client:
        client.ping()
    last = next(each for each in records() if each.thrift_event == 'CallFinished')
    assert last.levelno == logging.DEBUG
    assert last.getMessage().startswith(f"CallFinished server='kv ({kv_server.address})'")
    facts = last.thrift_service, last.thrift_server, last.thrift_method, last.thrift_outcome
    assert facts == ('test_if.test_service', 'kv', 'ping', 'ok')
    assert (last.thrift_attempts, last.thrift_error) == (1, None)
    assert last.thrift_elapsed > 0


def test_connections_are_told_of(kv_server, records):
    """Opening, using again and closing a connection are records too."""
    with thrift_client.SimpleClient(
        test_service, kv_server.address, listeners=[EventLog()]
    ) as client:
        client.ping()
        client.ping()
    told = {each.thrift_event for each in records()}
    assert told >= {'ConnectionOpened', 'ConnectionReused', 'ConnectionDiscarded'}


def test_a_failed_call_and_an_ejection_are_warnings(records):
    """A call without an answer and an ejected server are warnings."""
    with ClosedPort() as address:
        client = thrift_client.SimpleClient(
            test_service,
            address.address,
            listeners=[EventLog()],
            circuit_breaker=CircuitBreaker(failures=1),
        )
        with client, pytest.raises(errors.ConnectError):
            client.ping()
    warned = [each for each in records() if each.levelno == logging.WARNING]
    assert [each.thrift_event for each in warned] == ['ServerEjected', 'CallFinished']
    assert warned[1].thrift_outcome == 'ConnectError'
    assert 'did not run' in warned[1].thrift_error


def test_an_answer_is_no_warning(records):
    """An exception that the server answered with is the server's business."""
    with (
        serve(test_service, KeyValue()) as server,
        thrift_client.SimpleClient(
            test_service, server.address, listeners=[EventLog()]
        ) as client,
        pytest.raises(Exception, match='Internal error'),
    ):
        client.getk('missing')
    assert {each.levelno for each in records()} == {logging.DEBUG}


def test_a_slow_call_is_a_warning(kv_server, records):
    """A call that takes as long as `slow`, or longer, stands out."""
    with thrift_client.SimpleClient(
        test_service, kv_server.address, listeners=[EventLog(slow=0)]
    ) as client:
        client.ping()
    levels = {each.levelno for each in records() if each.thrift_event == 'CallFinished'}
    assert levels == {logging.WARNING}


def test_another_logger_gets_the_records(kv_server, caplog):
    """A logger may be given by itself; a closed level costs no record."""
    caplog.set_level(logging.INFO, 'mine')
    with thrift_client.SimpleClient(
        test_service,
        kv_server.address,
        listeners=[EventLog(logging.getLogger('mine')), EventLog('mine', slow=0)],
    ) as client:
        client.ping()
    assert [each.thrift_event for each in caplog.records if each.name == 'mine'] == ['CallFinished']
