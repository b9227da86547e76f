"""What a server's first bytes look like, and which options speak to such a server."""

from __future__ import annotations

from thrift_client.errors import CallTimeout, ConnectionLost, DecodeError, WireMismatch

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.errors import ThriftClientError

#: How many bytes are enough to tell.
ENOUGH = 16


class Speech:
    """A way to speak Thrift: the names of a transport and of a protocol, and whether in TLS."""

    __slots__ = ('protocol', 'tls', 'transport')

    def __init__(self, transport: str, protocol: str, tls: bool = False) -> None:
        if protocol == 'header':
            transport, protocol = 'header', 'binary'
        self.transport = transport
        self.protocol = protocol
        self.tls = tls

    def __repr__(self) -> str:
        within = ' in TLS' if self.tls else ''
        return f'{self.transport} {self.protocol}{within}'


def _protocol(data: bytes) -> str | None:
    """The protocol whose messages begin so; of compact's second byte the upper bits are a type."""
    if data[:2] == b'\x80\x01':
        return 'binary'
    if data[:1] == b'\x82' and data[1:2] and data[1] & 0x1F == 1:
        return 'compact'
    if data[:3] == b'[1,':
        return 'json'
    return None


#: What begins like this is no Thrift at all: (beginnings, what it looks like, what to do).
STRANGERS = (
    ((b'HTTP/', b'<!DOC', b'<html', b'<HTML'), 'HTTP', "give the server's http:// URL as host"),
    ((b'\x15\x03', b'\x16\x03'), 'TLS', 'set ssl=True or a context, or a thrifts:// URL'),
    ((b'SSH-',), 'SSH', 'the port is that of another service'),
    ((b'220 ',), 'a mail or file server', 'check the port'),
    ((b'+OK', b'* OK'), 'a mailbox', 'check the port'),
    ((b'-ERR',), 'Redis or another cache', 'check the port'),
    ((b'RFB ',), 'VNC', 'check the port'),
    ((b'\x00\x00\x00\x04\x00', b'\x00\x00\x12\x04\x00'), 'HTTP/2 (gRPC?)', 'check the port'),
)
#: The header of a zlib stream: a 32 KB window and any level (RFC 1950).
ZLIB = (b'\x78\x01', b'\x78\x5e', b'\x78\x9c', b'\x78\xda')


def recognize(data: bytes) -> tuple[str, str] | Speech | None:
    """What `data` begins like: a way to speak Thrift, or (what else it is, what to do)."""
    for beginnings, what, advice in STRANGERS:
        if data.startswith(beginnings):
            return what, advice
    if data.startswith(ZLIB):
        return Speech('zlib', 'binary')
    protocol = _protocol(data)
    if protocol is not None:
        return Speech('buffered', protocol)
    inside = data[4:]
    if inside[:2] == b'\x0f\xff':
        return Speech('header', 'compact' if inside[10:11] == b'\x02' else 'binary')
    protocol = _protocol(inside)
    if protocol is not None:
        return Speech('framed', protocol)
    if data[:1] in (b'\x02', b'\x03', b'\x04', b'\x05') and data[1:3] == b'\0\0':
        return 'a SASL negotiation', "set sasl={'mechanism': 'PLAIN', …}"
    if data[3:5] == b'\0\x0a' and len(data) > 5:  # the first packet, of version 10
        return 'MySQL', 'check the port'
    return None


def explain(error: ThriftClientError, speech: Speech, data: bytes) -> ThriftClientError:
    """The error for a reply that begins with `data` and made no sense to who speaks `speech`.

    That is a WireMismatch where the bytes look like something else, else the error itself.
    """
    found = recognize(data)
    if found is None:
        if isinstance(error, DecodeError):
            error.hint = error.hint or f'it begins with {data!r}; {worth_trying(speech)}'
        return error
    if isinstance(found, Speech):
        same_transport = found.transport == speech.transport
        if same_transport and (found.protocol == speech.protocol or found.transport == 'zlib'):
            return error
        what, advice = repr(found), f'set {_options(found, speech)}'
    else:
        what, advice = found
        if what == 'HTTP' and speech.transport == 'http':
            return error
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
        options.append(f'transport={found.transport!r}')
    if found.protocol != speech.protocol and found.transport != 'zlib':
        options.append(f'protocol={found.protocol!r}')
    return ' and '.join(options)


def advise(error: ThriftClientError, speech: Speech) -> None:
    """Say what to try where a server hung up or is silent on a connection that never worked."""
    if isinstance(error, (CallTimeout, ConnectionLost)) and error.maybe_executed:
        hint = f'if it never answers, it may speak something else: {worth_trying(speech)}'
        error.hint = hint if error.hint is None else f'{error.hint}; {hint}'


def worth_trying(speech: Speech) -> str:
    """Which other options a server that doesn't understand the client may need."""
    transports = _others(('buffered', 'framed', 'header', 'zlib'), speech.transport)
    protocols = _others(('binary', 'compact', 'json'), speech.protocol)
    url = 'a host without http://' if speech.transport == 'http' else 'an http:// URL as host'
    tls = 'ssl=None' if speech.tls else 'ssl=True'
    return f'worth trying are transport={transports}, {url}, protocol={protocols}, {tls} and sasl='


def _others(names: tuple[str, ...], name: str) -> str:
    return ' or '.join(repr(other) for other in names if other != name)
