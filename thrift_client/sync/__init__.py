"""The blocking clients: what waits in the calling thread.

Read in this order: pools, client, then `core/call.py` and course, connection_pool, connection,
`core/codec.py`, stream; connect for how a connection is opened, fanout and events for several
calls at once, place for the lines of waiting calls, pin for pinned connections, checks
for ejected servers, workers for `submit`; user_transport for a user's own Apache transport,
apache_transport for code that makes its own Thrift client. `aio/` uses the same file names for
the same things.
"""
