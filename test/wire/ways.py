"""The ways to speak that servers and clients have in common, as one table."""

from __future__ import annotations

from dataclasses import dataclass, field

STREAMING = ('simple', 'threaded', 'threadpool', 'forking', 'processpool')
FRAMED_ONLY = ('nonblocking', 'twisted')
SPEECHES = (
    *((transport, protocol) for transport in ('buffered', 'framed', 'zlib')
      for protocol in ('binary', 'compact', 'json')),
    ('header', 'binary'),
    ('header', 'compact'),
    ('buffered', 'header'),
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One kind of server, and the options of a client that speaks to it."""

    server: str
    transport: str
    protocol: str
    options: dict = field(hash=False)
    tls: bool = False

    def __str__(self):
        secure = '-tls' if self.tls else ''
        return f'{self.server}{secure}-{self.transport}-{self.protocol}'

    @property
    def server_transport(self):
        """What the server calls its transport."""
        return 'buffered' if self.server == 'http' else self.transport


def way(server, transport, protocol, tls=False):
    """Make a Way whose client says what the server is."""
    return Way(server, transport, protocol, {'transport': transport, 'protocol': protocol}, tls)


WAYS = [
    *(way(server, *speech) for server in STREAMING for speech in SPEECHES),
    *(way(server, 'framed', protocol) for server in FRAMED_ONLY
      for protocol in ('binary', 'compact', 'json')),
    *(way('http', 'http', protocol) for protocol in ('binary', 'compact', 'json')),
    *(way('threaded', *speech, tls=True) for speech in SPEECHES),
    *(way('http', 'http', protocol, tls=True) for protocol in ('binary', 'json')),
]  # fmt: skip
