"""Service discovery: sources of servers for pools, and the registration of servers.

Read in this order: urls (what users write), source and member (what pools get), stable (what
protects pools from bad lists), loop; static, polled, file and dns; zookeeper with zk_access,
zk_session, serverset and hive; etcd with etcd_session and etcd_wire; registration.
"""

from thrift_client.discovery.dns import DnsSource, SrvSource
from thrift_client.discovery.etcd import EtcdSource
from thrift_client.discovery.file import FileSource
from thrift_client.discovery.member import Member
from thrift_client.discovery.polled import CallableSource
from thrift_client.discovery.registration import Registration
from thrift_client.discovery.source import (
    Listener,
    Reader,
    Reading,
    Source,
    SourceError,
    Watch,
    Watchable,
)
from thrift_client.discovery.stable import Change, Policy, diff
from thrift_client.discovery.static import StaticSource
from thrift_client.discovery.urls import register, source
from thrift_client.discovery.zookeeper import ZooKeeperSource

__all__ = [
    'CallableSource',
    'Change',
    'DnsSource',
    'EtcdSource',
    'FileSource',
    'Listener',
    'Member',
    'Policy',
    'Reader',
    'Reading',
    'Registration',
    'Source',
    'SourceError',
    'SrvSource',
    'StaticSource',
    'Watch',
    'Watchable',
    'ZooKeeperSource',
    'diff',
    'register',
    'source',
]
