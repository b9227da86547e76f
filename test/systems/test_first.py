"""balance='first': the first server in order that is in reach, and back once it has recovered."""

import time

import pytest

from handlers import KeyValue
from test_if import test_service
from thrift_client import BalancedClient, CircuitBreaker, errors, routing, testing
from thrift_client.aio import AsyncBalancedClient

each_kind = pytest.mark.parametrize('kind', [BalancedClient, AsyncBalancedClient])


class Named(KeyValue):
    """Answers pings with its name."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def ping(self):
        return self._name


def _pick(loads, now):
    return routing.balancer('first').pick(loads, now, None)


def test_the_order_decides_and_a_server_out_of_reach_is_passed_over():
    """An unreachable server is skipped for 1 s, then doubling up to a minute."""
    first, second = loads = [routing.Load(), routing.Load(1000)]
    assert _pick(loads, 0.0) == 0
    first.lost(0.0)
    assert [_pick(loads, now) for now in (0.0, 0.9, 1.0, 1.1)] == [1, 1, 0, 1]
    first.lost(1.1)
    assert [_pick(loads, now) for now in (3.0, 3.1, 3.2)] == [1, 0, 1]
    for _ in range(2000):
        first.lost(10.0)
    assert [_pick(loads, now) for now in (69.9, 70.0)] == [1, 0]
    first.start()
    first.done(70.0, 1.0, failed=False)
    assert _pick(loads, 70.0) == 0
    second.lost(70.0)
    assert _pick(loads, 70.0) == 0


def test_if_none_is_in_reach_the_one_that_is_due_first_is_tried():
    """Something has to be tried."""
    first, second = loads = [routing.Load(), routing.Load()]
    second.lost(0.0)
    first.lost(0.1)
    assert _pick(loads, 0.2) == 1
    with pytest.raises(LookupError):
        _pick([], 0.0)


@each_kind
def test_calls_stay_at_the_first_and_return_to_it(kind, pool_of):
    """Calls return to the first server when it is back, whatever others have answered."""
    first = testing.serve(test_service, Named('first'))
    with testing.serve(test_service, Named('second')) as second:
        with first:
            port = first.port
            pool = pool_of(
                kind, [first.address, second.address], balance='first', idempotent=['ping']
            )
            assert {pool.ping().value() for _ in range(10)} == {'first'}
        responses = [pool.ping() for _ in range(5)]
        assert {response.value() for response in responses} == {'second'}
        with testing.serve(test_service, Named('first'), port=port):
            assert pool.ping().value() == 'second'  # it is not tried at each call
            assert _eventually(lambda: pool.ping().value() == 'first')
            assert {pool.ping().value() for _ in range(5)} == {'first'}


@each_kind
def test_an_ejected_server_is_passed_over(kind, fault_server, pool_of):
    """What is healthy is the breaker's to say; a declared exception is an answer."""
    silent = fault_server(test_service, testing.behaviours.silence())
    with testing.serve(test_service, Named('second')) as second:
        pool = pool_of(
            kind, [silent.address, second.address], balance='first', timeout=200,
            circuit_breaker=CircuitBreaker(failures=2, eject=60000),
        )  # fmt: skip
        said = [pool.ping() for _ in range(4)]
        assert [type(response.exception) for response in said[:2]] == [errors.CallTimeout] * 2
        assert [response.value() for response in said[2:]] == ['second'] * 2


def _eventually(condition):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
