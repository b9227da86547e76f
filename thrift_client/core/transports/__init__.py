"""The registry of transports: a row for each name in `options.TRANSPORTS`."""

from __future__ import annotations

from thrift_client.core.transports import framed, header, http, plain, zlib
from thrift_client.core.transports.base import Channel, Transport

__all__ = ['TRANSPORTS', 'Channel', 'Transport']

#: By name, in the order in which a server's first bytes are compared with them.
TRANSPORTS: dict[str, Transport] = {
    module.TRANSPORT.name: module.TRANSPORT for module in (plain, framed, zlib, header, http)
}
