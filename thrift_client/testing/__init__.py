"""Servers for tests of code that calls Thrift services: real servers, and servers that fail.

Read in this order: serve, parts, threads, listener, then http_kind, twisted_kind and forked for
the other kinds of real servers; faults with behaviours, malformed, script, exchange and wire;
proxy with relay and toxics; addresses, ends, ledger and clock; pytest_plugin for fixtures.
"""

from thrift_client.testing import behaviours, malformed, toxics
from thrift_client.testing.addresses import BlackHole, ClosedPort
from thrift_client.testing.clock import FakeClock
from thrift_client.testing.faults import FaultServer
from thrift_client.testing.ledger import Ledger
from thrift_client.testing.proxy import ToxicProxy
from thrift_client.testing.script import per_connection
from thrift_client.testing.serve import Server, serve

__all__ = [
    'BlackHole',
    'ClosedPort',
    'FakeClock',
    'FaultServer',
    'Ledger',
    'Server',
    'ToxicProxy',
    'behaviours',
    'malformed',
    'per_connection',
    'serve',
    'toxics',
]
