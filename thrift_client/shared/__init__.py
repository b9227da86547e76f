"""What the blocking and the asyncio clients share: everything but the waiting.

An `Endpoint` is a server as calls see it, with its connections, its health and its options.
Read in this order: endpoint, health, connection_pool, connection; opening, resolve, stream,
tls for how a connection comes to be; client_base, bound_methods for what a user calls;
pool_base, server_list, follower, hash_base, pickers, bulk for pools; fork, platform and
request_log where they are used.
"""
