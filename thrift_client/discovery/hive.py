"""The nodes that HiveServer2 and similar servers keep in ZooKeeper.

A node's name contains the address: `serverUri=hs2-1:10000;version=3.1.3;sequence=0000000012`
(Kyuubi: `serviceUri=`). Its data is the address again, or the server's settings, of which those
for HTTP and TLS count:

    hive.server2.transport.mode=http;hive.server2.thrift.http.path=cliservice;…
"""

from __future__ import annotations

from thrift_client import address as addresses
from thrift_client.discovery.member import Member

#: How the names of the nodes begin.
PREFIXES = ('serverUri=', 'serviceUri=')


def decode(name: str, data: bytes) -> Member:
    """Read a node.

    Raises ValueError (its name has no address, or its settings make no URL).
    """
    said = dict(part.split('=', 1) for part in name.split(';') if '=' in part)
    uri = said.get('serverUri', said.get('serviceUri', ''))
    target = addresses.parse(uri)
    server = addresses.join(target.host, target.port)
    settings = _settings(data.decode())
    is_tls = settings.get('use.SSL', '').lower() == 'true'
    if settings.get('transport.mode', '').lower() == 'http':
        path = settings.get('thrift.http.path', 'cliservice').strip('/')
        address = f'{"https" if is_tls else "http"}://{server}/{path}'
    else:
        address = f'thrifts://{server}' if is_tls else server
    version = said.get('version', '')
    return Member(address, server, metadata={'version': version} if version else {})


def _settings(text: str) -> dict[str, str]:
    """Return the settings `hive.server2.*` in a node's data, by the rest of their names."""
    pairs = (part.split('=', 1) for part in text.split(';') if '=' in part)
    return {name.removeprefix('hive.server2.'): value for name, value in pairs}
