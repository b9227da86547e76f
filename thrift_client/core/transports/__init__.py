"""The registry of transports: a module for each name in `options.TRANSPORTS`.

Read in this order: base (the interface), buffered, framed, zlib, header; http with http_channel,
http_site, cookies and secrets; handshake and sasl for what comes before the first message.
"""

from __future__ import annotations

from importlib import import_module

from thrift_client.core.transports.base import Channel, Transport
from thrift_client.options import TRANSPORTS as NAMES

__all__ = ['TRANSPORTS', 'Channel', 'Transport']

#: By name, in the order in which a server's first bytes are compared with them.
TRANSPORTS: dict[str, Transport] = {
    name: import_module(f'{__name__}.{name}').TRANSPORT for name in NAMES
}
