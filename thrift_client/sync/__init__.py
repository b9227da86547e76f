"""The blocking clients: what waits in the calling thread.

Read in this order: pools, client, then `core/call.py`, connection_pool, connection,
`core/codec.py`, stream; connect for how a connection is opened, fanout for several calls at
once, workers for `submit`, apache for a user's own Apache transport. `aio/` has the same
file names.
"""
