"""The decisions about calls, without I/O: shared by blocking clients, fan-outs and asyncio.

Read in this order: service (methods of a service), wire and codec (a call to bytes and back),
reader and reply (bytes in pieces), transports/ (what goes around messages); call (the state
machine of a call), call_options, classify, retry, breaker, hedge for its decisions;
scatter (several calls at once), split; detect, failures and paths for what goes wrong;
json_coder, json_protocol, arrays, collector and nesting for some messages; passage for
ApacheTransport.
"""
