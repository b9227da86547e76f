"""Clients for Apache Thrift services that never hand you another call's reply."""

from thrift_client import errors
from thrift_client._version import __version__
from thrift_client.budget import deadline
from thrift_client.client import SimpleClient
from thrift_client.hashed import HashClient, ThreadedHashClient
from thrift_client.pool import ThriftPool
from thrift_client.replicated import ReplicatedClient, ThreadedReplicatedClient
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

MultiClient = ThriftPool

__all__ = [
    'HashClient',
    'MultiClient',
    'ReplicatedClient',
    'SimpleClient',
    'ThreadedHashClient',
    'ThreadedReplicatedClient',
    'ThriftExceptionResponse',
    'ThriftPool',
    'ThriftResponse',
    '__version__',
    'deadline',
    'errors',
]
