"""The nodes of a ServerSet, as Finagle and Aurora write them."""

import pytest

from thrift_client.discovery import Member, serverset

NODES = {
    b'{"serviceEndpoint": {"host": "kv", "port": 1}}': Member('kv:1'),
    b'{"status": "DEAD"}': None,
    b'{"serviceEndpoint": {"host": "kv", "port": 1}, "shard": 2}': (
        Member('kv:1', metadata={'shard': 2})
    ),
    b'': ValueError,
    b'[]': ValueError,
    b'{}': ValueError,
    b'\xff': ValueError,
    b'{"serviceEndpoint": {"host": "kv", "port": "1"}}': ValueError,
    b'{"serviceEndpoint": {"host": "kv", "port": 1}, "metadata": {"weight": "x"}}': ValueError,
    b'{"serviceEndpoint": {"host": "kv", "port": 1}, "metadata": {"weight": "0"}}': ValueError,
}


@pytest.mark.parametrize(('data', 'member'), NODES.items(), ids=repr)
def test_nodes(data, member):
    """A node is a member, None once its server is no longer alive, or a ValueError."""
    if member is ValueError:
        with pytest.raises(ValueError, match=r'.'):
            serverset.decode(data, None, by_shard=False)
    else:
        assert serverset.decode(data, None, by_shard=False) == member
