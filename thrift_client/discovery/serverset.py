"""The nodes that Finagle and Aurora keep in ZooKeeper: one JSON object per server.

    {"serviceEndpoint": {"host": "kv-1", "port": 9090}, "additionalEndpoints": {},
     "status": "ALIVE", "shard": 3, "metadata": {"weight": "2"}}

The format is that of twitter.common.zookeeper's JSON codec, in which metadata maps strings to
strings; the weight is stored there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from thrift_client import address as addresses
from thrift_client.discovery.member import Member

#: How the names of the nodes begin.
PREFIX = 'member_'

_WEIGHT = 'weight'


def decode(data: bytes, endpoint: str | None, *, by_shard: bool) -> Member | None:
    """Read a node.

    `endpoint`: one of the additional endpoints; None for the service's own. `by_shard`: whether
    the server is named by its shard rather than its address.

    Returns None for a server that says it isn't alive. Raises ValueError (this is not such a
    node, or it lacks the endpoint or the shard).
    """
    node = _mapping(json.loads(data), 'node')
    if node.get('status', 'ALIVE') != 'ALIVE':
        return None
    if endpoint is None:
        chosen = _mapping(node.get('serviceEndpoint'), 'serviceEndpoint')
    else:
        further = _mapping(node.get('additionalEndpoints'), 'additionalEndpoints')
        chosen = _mapping(further.get(endpoint), f'endpoint {endpoint!r}')
    metadata = dict(_mapping(node.get('metadata') or {}, 'metadata'))
    shard = node.get('shard')
    if shard is not None:
        metadata['shard'] = shard
    elif by_shard:
        raise ValueError('it has no shard to be named by')
    weight = float(metadata.pop(_WEIGHT, 1))
    name = f'shard-{shard}' if by_shard else ''
    return Member.of(
        {'host': chosen.get('host'), 'port': chosen.get('port'), 'name': name}
        | {'weight': weight, 'metadata': metadata}
    )


def encode(
    address: str,
    *,
    shard: int | None,
    weight: float,
    additional: Mapping[str, str],
) -> bytes:
    """Write a node; `additional` maps names of further endpoints to their addresses.

    Raises ValueError for an address that is more than a host and a port.
    """
    node: dict[str, Any] = {
        'serviceEndpoint': _endpoint(address),
        'additionalEndpoints': {name: _endpoint(text) for name, text in additional.items()},
        'status': 'ALIVE',
    }
    if shard is not None:
        node['shard'] = shard
    if weight != 1:
        node['metadata'] = {_WEIGHT: str(weight)}
    return json.dumps(node).encode()


def _endpoint(text: str) -> dict[str, Any]:
    parsed = addresses.parse(text)
    if parsed.port is None:
        raise ValueError(f'a ServerSet cannot hold a unix socket: {addresses.redacted(text)!r}')
    if parsed.scheme not in (None, 'thrift') or parsed.query or parsed.credentials:
        plain = addresses.join(parsed.host, parsed.port)
        raise ValueError(
            f'a ServerSet can hold only a host and a port, not {addresses.redacted(text)!r}: '
            f'register {plain!r} and give the clients the options, or register in etcd'
        )
    return {'host': parsed.host, 'port': parsed.port}


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f'{what} is not an object')
    return value
