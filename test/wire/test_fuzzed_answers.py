"""Answers in random pieces with random bytes behind them, on every wire and to every client."""

import random
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from handlers import KeyValue
from on_loop_pools import made
from test_if import test_service
from thrift_client import (
    BalancedClient,
    HashClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import ToxicProxy, serve
from thrift_client.testing.toxics import Effect, Piece, Toxic
from wire.sasl_server import SaslServer

KINDS = [
    SimpleClient, HashClient, ThreadedHashClient, ReplicatedClient, ThreadedReplicatedClient,
    BalancedClient, AsyncSimpleClient, AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
]  # fmt: skip
SASL = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
WIRES = {
    'binary': {},
    'compact': {'protocol': 'compact'},
    'JSON': {'protocol': 'json'},
    'framed binary': {'transport': 'framed'},
    'framed JSON': {'transport': 'framed', 'protocol': 'json'},
    'zlib': {'transport': 'zlib'},
    'zlib JSON': {'transport': 'zlib', 'protocol': 'json'},
    'header': {'transport': 'header', 'protocol': 'compact'},
    'HTTP': {'transport': 'http'},
    'HTTP JSON': {'transport': 'http', 'protocol': 'json'},
    'SASL': {'sasl': SASL},
}
KEYS = 5
#: Bytes in place of a length can have a call wait for more than will come.
TIMEOUT = 150
#: Calls until both right answers and errors must have come: each comes every other time.
MOST_CALLS = 200


@dataclass(frozen=True)
class Tail(Toxic):
    """Pass what is read at once in pieces, and behind some of it what belongs to no call.

    With `again`, that may be what was sent already. In a deflated stream the same bytes mean
    something else the second time, which may well be an answer to the call.
    """

    again: bool

    def effect(self, rng):
        """Begin with a connection."""
        again = self.again

        class Tails(Effect):
            before = b'x'

            def apply(self, at, data):
                tails = [self.rng.randbytes(3), b'\0', b'\0\0\xff\xff']
                if again:
                    tails += [data, self.before, data[: len(data) // 2]]
                self.before = data
                ends = sorted(self.rng.sample(range(len(data) + 1), 2))
                start = 0
                for end in (*ends, len(data)):
                    if end > start:
                        yield Piece(at, data[start:end])
                    start, at = end, at + self.rng.choice([0, 0.001])
                if self.rng.random() < 0.5:
                    yield Piece(at, self.rng.choice(tails))

        return Tails(rng)


@pytest.fixture(scope='module', params=WIRES)
def wire(request):
    """A proxy that adds to what a server answers, and a client's options for it."""
    options = dict(WIRES[request.param])
    with ExitStack() as stack:
        if 'sasl' in options:
            server = stack.enter_context(SaslServer())
            handler = server.handler
            address = f'127.0.0.1:{server.port}'
        else:
            handler = KeyValue()
            transport = options.get('transport', 'buffered')
            kind, inside = ('http', 'buffered') if transport == 'http' else ('threaded', transport)
            server = stack.enter_context(
                serve(
                    test_service,
                    handler,
                    kind,
                    protocol=options.get('protocol', 'binary'),
                    transport=inside,
                )
            )
            address = server.address
        for n in range(KEYS):
            handler.setk(str(n), f'value {n}')
        proxy = stack.enter_context(ToxicProxy(address, seed=random.randrange(1 << 30)))
        proxy.add(Tail(direction='down', again=options.get('transport') != 'zlib'))
        prefix = 'http://' if options.get('transport') == 'http' else ''
        yield f'{prefix}{proxy.address}', options


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_no_answer_is_another_calls(kind, wire):
    """A call returns its own, or an error of the library; and both happen."""
    address, options = wire
    options = {'timeout': TIMEOUT, **options}
    is_client = kind in (SimpleClient, AsyncSimpleClient)
    where = {} if is_client else {'servers': [address]}
    right = wrong = 0
    with made(kind, test_service, *([address] if is_client else []), **where, **options) as client:
        for n in range(MOST_CALLS):
            key = str(n % KEYS)
            try:
                answer = client.getk(key)
            except errors.ThriftClientError:
                wrong += 1
                continue
            response = answer[0] if isinstance(answer, list) else answer
            if isinstance(response, str):
                assert response == f'value {key}'
            elif response.exception is not None:
                assert isinstance(response.exception, errors.ThriftClientError)
                wrong += 1
                continue
            else:
                assert response.value() == f'value {key}'
            right += 1
            if right >= KEYS and wrong >= KEYS:
                break
    assert right
    assert wrong
