"""SASL without a socket: the negotiation's bounds, its errors in words, and the frames."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrift_client import errors
from thrift_client.core.transports import sasl
from thrift_client.core.transports.buffered import Plain
from thrift_client.core.transports.framed import Framed

PASSWORD = 'sesame!open'
GIVEN = {'mechanism': 'PLAIN', 'username': 'me', 'password': PASSWORD}


def message(status, payload=b''):
    """A message of the negotiation."""
    return struct.pack('!BI', status, len(payload)) + payload


def negotiation(given=GIVEN):
    """One that has begun: the generator, and what it sent."""
    talk = sasl.log_in(sasl.make_client(sasl.with_principal('h', given)), given)
    return talk, next(talk)


@given(ends=st.lists(st.integers(0, 20)))
def test_the_answers_arrive_in_any_pieces(ends):
    """The login ends with the last byte, however the answers are cut."""
    talk, sent = negotiation()
    assert sent == message(1, b'PLAIN') + message(2, f'\0me\0{PASSWORD}'.encode())
    data = message(2) + message(5)
    ends = sorted({end % len(data) for end in ends} | {0})
    for start, end in pairwise(ends):
        talk.send(data[start:end])
    with pytest.raises(StopIteration):
        talk.send(data[ends[-1] :])


@pytest.mark.parametrize(
    'data',
    [
        message(2) * 100,  # no end
        message(5) + b'x',  # something behind it
        struct.pack('!BI', 2, 1 << 30),  # a challenge without end
        b'HTTP/1.1 400 Bad Request',
        message(3, f'who is {PASSWORD}?'.encode()),
        f'{PASSWORD} is what you said'.encode(),
        b'',
    ],
)
def test_what_is_no_negotiation_is_an_auth_error(data):
    """The text doesn't show a password that the server repeats."""
    talk, _ = negotiation()
    with pytest.raises(errors.AuthError) as caught:
        talk.send(data)
    assert PASSWORD not in str(caught.value)


def test_the_host_of_the_principal_may_be_another():
    """The principal's host may differ from the host that is connected to."""
    for option, host in ((GIVEN, 'balancer'), ({**GIVEN, 'host': 'hive-1'}, 'hive-1')):
        assert sasl.make_client(sasl.with_principal('balancer', option)).host == host


class KrbError(Exception):
    """What Kerberos libraries raise: pairs of a text and a number."""


class Failing:
    """A client whose mechanism fails so."""

    mechanism = 'GSSAPI'

    def __init__(self, error):
        self.error = error

    def process(self, _challenge):
        raise self.error


def test_errors_of_kerberos_are_words(monkeypatch):
    """The texts say in words what failed and what to check."""
    module = type(sasl)('kerberos')
    module.KrbError = KrbError
    monkeypatch.setitem(sasl.sys.modules, 'kerberos', module)
    error = KrbError((('Unspecified GSS failure', 851968), ('No Kerberos credentials', -1765)))
    talk = sasl.log_in(Failing(error), {'mechanism': 'GSSAPI'})
    with pytest.raises(errors.AuthError, match='GSS failure: No Kerberos credentials') as caught:
        next(talk)
    assert 'kinit' in caught.value.hint


class Mechanism:
    """One with quality of protection: it adds a seal to each frame."""

    SEAL = b'sealed: '

    def __init__(self, max_buffer):
        self.max_buffer, self.qop = max_buffer, b'auth-int'


class Client:
    """pure-sasl's, after a login with `Mechanism`."""

    def __init__(self, max_buffer):
        self._chosen_mech = Mechanism(max_buffer)

    def wrap(self, data):
        return Mechanism.SEAL + data

    def unwrap(self, frame):
        if not frame.startswith(Mechanism.SEAL):
            raise ValueError('no seal')
        return frame.removeprefix(Mechanism.SEAL)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 10_000), most=st.integers(100, 4000))
def test_no_frame_is_larger_than_the_server_takes(size, most):
    """Frames fit with the mechanism's overhead; together they are the message."""
    data = sasl.Sasl(Client(most), Plain(), 1 << 20).wrap(bytes(size), 1, None)
    got = b''
    while data:
        (length,) = struct.unpack_from('!i', data)
        assert length <= most
        got += data[4 + len(Mechanism.SEAL) : 4 + length]
        data = data[4 + length :]
    assert got == bytes(size)


def test_a_frame_that_cannot_be_unwrapped_is_a_decode_error():
    """Forged, or not sealed at all."""
    channel = sasl.Sasl(Client(1000), Framed(1000), 1000)
    frame = struct.pack('!i', 4) + b'fake'
    assert channel.whole(frame) is None
    with pytest.raises(errors.DecodeError, match='unwrapped'):
        channel.assembler().feed(frame)


def test_frames_are_unwrapped_once():
    """What `whole` was given is not unwrapped again: mechanisms count the frames."""
    unwrapped = []

    class Counting(Client):
        def unwrap(self, frame):
            unwrapped.append(frame)
            return super().unwrap(frame)

    channel = sasl.Sasl(Counting(1000), Framed(1000), 1000)
    inner = struct.pack('!i', 9) + b'begin'
    frame = struct.pack('!i', len(inner) + 8) + Mechanism.SEAL + inner
    channel.wrap(b'', 1, None)
    assert channel.whole(frame) is None
    assembler = channel.assembler()
    assert assembler.feed(frame) is None
    assert assembler.feed(struct.pack('!i', 12) + Mechanism.SEAL + b'more').read() == b'beginmore'
    assert len(unwrapped) == 2
    assert channel.inner == inner + b'more'
