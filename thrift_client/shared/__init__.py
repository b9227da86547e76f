"""Code that blocking and asyncio clients share: everything except the waiting.

An `Endpoint` is the internal object of a server: its connections, its health, its options. Read
in this order: endpoint, health, connection_pool, connection; opening, resolve, stream, tls for
how a connection is opened; client_base, client_options, bound_methods for what a user calls;
pool_base, server_list, follower for all pools; hash_base, replicated_base, balanced_base,
pickers, fanout_base, bulk for their kinds; pin, checks, fork, platform and request_log where
they are used.
"""
