"""What a server's first bytes look like, and which options fit such a server."""

from __future__ import annotations

from thrift_client.core.transports import TRANSPORTS
from thrift_client.errors import ADDRESS, CallTimeout, ConnectionLost, DecodeError, WireMismatch

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable

    from thrift_client.errors import ThriftClientError

#: How many bytes are enough to tell.
ENOUGH = 16


class Speech:
    """A way to speak Thrift: the names of a transport and of a protocol, and whether in TLS.

    The protocol is '' where first bytes don't tell.
    """

    __slots__ = ('protocol', 'tls', 'transport')

    def __init__(self, transport: str, protocol: str, tls: bool = False) -> None:
        if protocol == 'header':
            transport, protocol = 'header', 'binary'
        self.transport = transport
        self.protocol = protocol
        self.tls = tls

    def __repr__(self) -> str:
        within = ' in TLS' if self.tls else ''
        return f'{self.transport} {self.protocol}'.rstrip() + within


#: What the messages of a SASL negotiation look like.
SASL = 'a SASL negotiation'

#: What begins like this isn't Thrift: (beginnings, what it looks like, what to do).
STRANGERS = (
    ((b'\x15\x03', b'\x16\x03'), 'TLS', 'set ssl=True or a context, or a thrifts:// URL'),
    ((b'SSH-',), 'SSH', 'the port is that of another service'),
    ((b'220 ',), 'a mail or file server', 'check the port'),
    ((b'+OK', b'* OK'), 'a mailbox', 'check the port'),
    ((b'-ERR',), 'Redis or another cache', 'check the port'),
    ((b'RFB ',), 'VNC', 'check the port'),
    ((b'\x00\x00\x00\x04\x00', b'\x00\x00\x12\x04\x00'), 'HTTP/2 (gRPC?)', 'check the port'),
)


def recognize(data: bytes) -> tuple[str, str] | Speech | None:
    """Return what `data` begins like: a way to speak Thrift, or (what else, what to do)."""
    for beginnings, what, advice in STRANGERS:
        if data.startswith(beginnings):
            return what, advice
    for row in TRANSPORTS.values():
        protocol = row.protocol_in(data)
        if protocol is not None:
            if row.schemes:
                return row.name.upper(), f'give {row.hint}'
            return Speech(row.name, protocol)
    if data[:1] in (b'\x02', b'\x03', b'\x04', b'\x05') and data[1:3] == b'\0\0':
        return SASL, "set sasl={'mechanism': 'PLAIN', …}"
    if data[3:5] == b'\0\x0a' and len(data) > 5:  # the first packet, of version 10
        return 'MySQL', 'check the port'
    return None


def explain(error: ThriftClientError, speech: Speech, data: bytes) -> ThriftClientError:
    """Return the error for a reply that begins with `data` and is not in `speech`.

    That is a WireMismatch where the bytes look like something else, else the error itself.
    """
    found = recognize(data)
    if found is None:
        if isinstance(error, DecodeError):
            error.hint = error.hint or f'the reply begins with {data!r}; {worth_trying(speech)}'
        return error
    if isinstance(found, Speech):
        same_transport = found.transport == speech.transport
        if same_transport and found.protocol in ('', speech.protocol):
            return error
        what, advice = repr(found), f'set {_options(found, speech)}'
    else:
        what, advice = found
        if what.lower() == speech.transport:
            return error
        if what == 'TLS' and speech.transport == 'http':
            advice = 'give an https:// URL as host'
    mismatch = WireMismatch(
        f'the server answers with what looks like {what}, and this client speaks {speech!r}: '
        f'the reply begins with {data!r}',
        phase=error.phase or 'reading the reply',
        maybe_executed=error.maybe_executed,
        hint=advice,
    )
    mismatch.__cause__ = error
    return mismatch


def _options(found: Speech, speech: Speech) -> str:
    options = []
    if found.transport != speech.transport:
        options.append(TRANSPORTS[found.transport].hint)
    if found.protocol not in ('', speech.protocol):
        options.append(f'protocol={found.protocol!r}')
    return ' and '.join(options)


def advise(error: ThriftClientError, speech: Speech) -> None:
    """Say what to try if a connection that never worked is closed or stays silent."""
    if isinstance(error, (CallTimeout, ConnectionLost)) and error.maybe_executed:
        if isinstance(error, CallTimeout) and error.phase == 'reading the reply':
            return  # the server has answered
        hint = worth_trying(speech)
        error.hint = hint if error.hint is None else f'{error.hint}; if it never answers, {hint}'


def worth_trying(speech: Speech) -> str:
    """Return which other options a server that doesn't understand the client may need."""
    names = [row.name for row in TRANSPORTS.values() if not row.schemes]
    transports = _others(names, speech.transport)
    protocols = _others(('binary', 'compact', 'json'), speech.protocol)
    url = 'a host without http://' if speech.transport == 'http' else 'an http:// URL as host'
    tls = 'ssl=None' if speech.tls else 'ssl=True'
    if speech.transport == 'http':  # the scheme decides
        tls = 'an http:// URL' if speech.tls else 'an https:// URL'
    return (
        f'it may expect transport={transports}, protocol={protocols}, {tls}, sasl=, service_name= '
        f'or {url}: run thrift-client probe {ADDRESS}'
    )


def _others(names: Iterable[str], name: str) -> str:
    return ' or '.join(repr(other) for other in names if other != name)
