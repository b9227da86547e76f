"""The decisions about calls, without I/O: shared by blocking clients, fan-outs and asyncio.

Read in this order: service (methods of a service), wire and codec (a call to bytes and back),
reply (bytes in pieces), transports/ (what goes around messages); call (the state machine of a
call), classify, retry, breaker, hedge for its decisions; scatter (several calls at once),
split; detect and failures for what goes wrong.
"""
