"""Code that blocking and asyncio clients share: everything except the waiting.

An `Endpoint` is the internal object of a server: its connections, its health, its options. Read
in this order: endpoint, health, connection_pool, connection; opening, resolve, stream, tls for
how a connection is opened; client_base, bound_methods for what a user calls; pool_base,
server_list, follower, hash_base, pickers, bulk for pools; fork, platform and request_log where
they are used.
"""
