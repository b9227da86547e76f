"""The commands, a module each, and the modules that only one or two of them need.

Read in this order: call, describe, fan_out (`all`), shell; probe and wires for unknown servers;
route and plan for placement; bench with load, histogram and report; replay with request_log;
stubs with stub_types and stub_clients; completion, demo, doctor, options.
"""
