"""Sent or not sent, at the byte: what a reset connection says about its call is never wrong."""

from __future__ import annotations

import itertools

import pytest

from rich_if import rich_service
from thrift_client import ReplicatedClient, RetryPolicy, SimpleClient, errors
from thrift_client.testing import FaultServer, Ledger
from thrift_client.testing.behaviours import reply, reset, reset_after_reading

#: Of an argument, so that a request is far larger than what sockets buffer on their way.
LARGE = 6_000_000
#: A server that has read no more than this leaves the end of such a request to the client.
EARLY = 1000
ONCE = RetryPolicy(attempts=1)
tokens = (f'{n:08}' for n in itertools.count())


def text(token, size):
    """An argument that tells its call from all others, and fills the request."""
    return token + 'x' * (size - len(token))


def spread(size, count):
    """About `count` numbers of bytes from 1 to `size`, all around both ends and some between."""
    near = set(range(1, count // 3)) | set(range(size - count // 3, size + 1))
    return sorted(near | set(range(1, size, max(1, size // (count // 3)))))


def request_size(argument, framed):
    """How many bytes a call of `echo` has on the wire."""
    header, field, stop, frame = 4 + 4 + len('echo') + 4, 1 + 2 + 4, 1, 4
    return header + field + len(argument) + stop + frame * framed


def token_of(request):
    """What a request's argument begins with."""
    return request.first_argument()[:8]


class Reset:
    """A server that reads `k` bytes of a request and resets, or answers it where `k` is None.

    `spared` says of a script's turn that its request is answered anyway.
    """

    def __init__(self, framed, spared=lambda turn: False):
        self.k = None
        self._spared = spared
        self.ledger = Ledger()
        self.server = FaultServer(
            rich_service, self._choose, framed=framed, token=token_of, ledger=self.ledger
        )

    def _choose(self, turn):
        if self.k is None or self._spared(turn):
            return reply('ok')
        return reset_after_reading(self.k)


def check(error, ledger, token):
    """An error that says that the call can't have run is right; none ran twice."""
    executed = ledger.count(token)
    assert executed <= 1
    if not error.maybe_executed:
        assert executed == 0


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('pool', [False, True], ids=['simple', 'fan-out'])
def test_a_reset_after_k_bytes_of_a_large_request(framed, pool):
    """Wherever a request breaks off, its error never denies a call that ran."""
    size = request_size(text('0' * 8, LARGE), framed=framed)
    run_large(framed, pool, spread(size, 24))


@pytest.mark.soak
@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_a_reset_after_every_k_bytes_of_a_large_request(framed):
    """The same for thousands of places in the request, and for all at its two ends."""
    size = request_size(text('0' * 8, LARGE), framed=framed)
    run_large(framed, False, spread(size, 3000))


def run_large(framed, pool, places):
    """One large call for each place where its request breaks off."""
    said = set()
    reset = Reset(framed)
    with reset.server as server:
        client = make(server.address, framed, pool)
        with client:
            for k in places:
                reset.k, token = k, next(tokens)
                error = failure(client, text(token, LARGE), pool)
                check(error, reset.ledger, token)
                assert k > EARLY or not error.maybe_executed
                said.add(error.maybe_executed)
            assert not len(reset.ledger)
            reset.k = None
            value = client.echo(text(next(tokens), 20))
            assert (value[0].value() if pool else value) == 'ok'
    # Near its end the kernel has taken all of it, though the server has not.
    assert said == {False, True}


def make(address, framed, pool):
    """A client or pool of one server, without retries."""
    if pool:
        return ReplicatedClient(rich_service, framed, 5000, servers=[address], retry=ONCE)
    return SimpleClient(rich_service, address, frame=framed, timeout=5000, retry=ONCE)


def failure(client, argument, pool):
    """Return the error of a call."""
    if pool:
        (response,) = client.echo(argument)
        error = response.exception
    else:
        with pytest.raises(errors.ThriftClientError) as raised:
            client.echo(argument)
        error = raised.value
    assert isinstance(error, errors.ConnectionLost), error
    return error


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('pool', [False, True], ids=['simple', 'fan-out'])
def test_a_reset_after_every_k_bytes_of_a_small_request(framed, pool):
    """The kernel takes a small request whole: whatever the server read of it, it may have run."""
    reset = Reset(framed)
    argument = text('0' * 8, 40)
    with reset.server as server, make(server.address, framed, pool) as client:
        for k in range(1, request_size(argument, framed)):
            reset.k, token = k, next(tokens)
            error = failure(client, text(token, 40), pool)
            check(error, reset.ledger, token)
            assert error.maybe_executed
        assert not len(reset.ledger)


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('pool', [False, True], ids=['simple', 'fan-out'])
def test_a_call_that_ran_is_never_denied(framed, pool):
    """A request that was read whole, and ran, before the reset: its error says that it may have."""
    ledger = Ledger()
    script = FaultServer(rich_service, reset(), framed=framed, token=token_of, ledger=ledger)
    with script as server, make(server.address, framed, pool) as client:
        for size in (40, 100_000, LARGE):
            token = next(tokens)
            error = failure(client, text(token, size), pool)
            assert error.maybe_executed
            assert ledger.count(token) == 1


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('pool', [False, True], ids=['simple', 'fan-out'])
def test_what_is_replaced_by_itself_runs_once(framed, pool):
    """A used connection that breaks under a large request is replaced, and the call runs once."""
    size = request_size(text('0' * 8, LARGE), framed=framed)
    for k in spread(size, 12):
        reset = Reset(framed, lambda turn: turn.connection > 0 or turn.request == 0)
        reset.k = k
        with reset.server as server, make(server.address, framed, pool) as client:
            client.echo(text(next(tokens), 20))
            token = next(tokens)
            error = outcome(client, text(token, LARGE), pool)
            if error is None:
                assert reset.ledger.count(token) == 1
                assert server.accepted == 2
            else:
                assert k > EARLY
                assert error.maybe_executed
                assert reset.ledger.count(token) == 0
                assert server.accepted == 1


def outcome(client, argument, pool):
    """Return None for a call that is answered, else its error."""
    if not pool:
        try:
            assert client.echo(argument) == 'ok'
        except errors.ConnectionLost as exc:
            return exc
        return None
    (response,) = client.echo(argument)
    assert response.attempts == 1
    assert response.is_error() or response.value() == 'ok'
    return response.exception


def test_what_may_have_run_is_not_tried_again():
    """With retries, a non-idempotent call runs at most once, wherever its request ends."""
    argument = text('0' * 8, 40)
    for k in range(1, request_size(argument, framed=True), 5):
        reset = Reset(True, lambda turn: turn.connection > 0)
        reset.k = k
        with (
            reset.server as server,
            SimpleClient(rich_service, server.address, frame=True, timeout=5000) as client,
        ):
            token = next(tokens)
            with pytest.raises(errors.ConnectionLost):
                client.echo(text(token, 40))
            assert reset.ledger.count(token) == 0
            assert server.accepted == 1
