"""Sources as users write them."""

import re
import subprocess
import sys

import pytest

from thrift_client import discovery

LABELS = {
    'zk://h1:2181,h2:2181/services/kv': '<ZooKeeperSource zk://h1:2181,h2:2181/services/kv>',
    'zk://u:p@h:2181/kv?by_shard=1&grace=0': '<ZooKeeperSource zk://h:2181/kv>',
    'ZK://h:2181/kv': '<ZooKeeperSource zk://h:2181/kv>',
    'etcd://h:2379/kv?watch=no': '<EtcdSource etcd://h:2379/kv/>',
    'etcds://u:p%40@[::1]:2379/kv/?timeout=50': '<EtcdSource etcds://[::1]:2379/kv/>',
    'dns://kv.test:9090?family=4': '<DnsSource dns://kv.test:9090>',
    'dns:///kv.test:9090': '<DnsSource dns://kv.test:9090>',
    'dns://kv.test': '<DnsSource dns://kv.test:9090>',
    'srv://_thrift._tcp.kv.test?nameservers=10.0.0.1,10.0.0.2:54': (
        '<SrvSource srv://_thrift._tcp.kv.test>'
    ),
    'file:/etc/kv.json?interval=100': '<FileSource file:/etc/kv.json>',
    'file:///etc/kv%20x.yaml': '<FileSource file:/etc/kv x.yaml>',
    'file:kv.json': '<FileSource file:kv.json>',
}


@pytest.mark.parametrize(('url', 'shown'), LABELS.items(), ids=LABELS.keys())
def test_urls(url, shown):
    """Each URL makes the source that it names, which shows itself without secrets."""
    assert repr(discovery.source(url)) == shown


BAD = {
    'zkk://h/kv': "did you mean 'zk'?",
    'etdc://h/kv': "did you mean 'etcd'?",
    'localhost:9090': 'known are zk, etcd',
    '': 'known are zk, etcd',
    'zk://h:2181': 'a path in ZooKeeper',
    'zk://h:2181/': 'a path in ZooKeeper',
    'zk://h:2181/a//b': 'a path in ZooKeeper',
    'zk:///kv': 'not a host name',
    'zk://h:99999/kv': 'not between 1 and 65535',
    'zk://h/kv#x': 'fragment',
    'zk://h/kv?by_shrd=1': "did you mean 'by_shard'?",
    'zk://h/kv?by_shard=perhaps': "bad value of 'by_shard'",
    'zk://h/kv?grace=1&grace=2': 'twice',
    'zk://h/kv?grace=-1': 'grace must be',
    'zk://h/kv?session_timeout=0': 'session_timeout must be above 0 ms',
    'etcd://h': 'a prefix in etcd',
    'etcd://h/kv?ca=/ca.pem': 'need tls',
    'etcd://h/kv?timeout=0': 'timeout must be above 0 ms',
    'dns://': 'expected one name',
    'dns://kv.test/x': 'expected one name',
    'dns://kv.test?family=5': 'family must be',
    'dns://kv.test?interval=1': 'is above interval',
    'dns://kv.test?interval=nan': 'interval must be above 0 ms',
    'dns://kv.test?min_interval=0': 'min_interval must be above 0 ms',
    'srv://kv.test:53': 'not a name for SRV',
    'file:kv.json?family=4': "unknown option 'family'",
    'file://kv.json': 'a file is written',
}


@pytest.mark.parametrize(('url', 'said'), BAD.items(), ids=BAD.keys())
def test_bad_urls(url, said):
    """A URL that can't be right is a ValueError that helps."""
    with pytest.raises(ValueError, match=r'.') as caught:
        discovery.source(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    'url',
    [
        'zkk://user:secret@h/kv',
        'zk://user:secret@h',
        'zk://user:sec/secret@h/kv',
        'zk://user:sec?secret@h/kv',
        'zk://user:sec#secret@h/kv',
        'zk://user:secret@h/kv?wrong=1',
        'zk://user:sec@secret@h:x/kv',
        'zk://user:secret\u2100@h/kv',
        'etcd://h/kv?password=secret&username=u&wrong=1',
        'etcd://h/kv?password=secret',
        'file://user:secret@h/kv',
        'zk://h/kv?auth=digest:u:secret',
        'etcd://h/kv?token=secret',
        'zk://h/kv?username=u#password=secret',
        'zk://h/kv?wrong=1?password=secret',
        'zk://h/kv?username=secret&wrong=1',
        'zk:user:secret@h/kv',
        'zkk://user:secret@h/kv#password=secret',
        'file:/kv.json?password=secret',
    ],
)
def test_errors_keep_secrets(url):
    """What is said of a bad URL has no part of its credentials, nor has its cause."""
    with pytest.raises(ValueError, match=r'.') as caught:
        discovery.source(url)
    exc = caught.value
    while exc is not None:
        assert 'sec' not in str(exc).replace('secret', 'sec')
        exc = exc.__cause__ if exc.__suppress_context__ else exc.__context__


@pytest.mark.parametrize('url', ['file:/srv/a@b/kv.json?wrong=1', 'file:a@b.json?wrong=1'])
def test_errors_show_paths(url):
    """A file's path may have an @, which ends no credentials."""
    with pytest.raises(ValueError, match=re.escape(url)):
        discovery.source(url)


def test_objects(tmp_path):
    """Lists, functions and sources are taken too; options go to the class that is made."""
    assert repr(discovery.source(['kv:1', ('kv', 2)])) == '<StaticSource static:kv:1,kv:2>'
    assert 'callable:' in repr(discovery.source(list, interval=5))
    made = discovery.FileSource(tmp_path / 'kv.json')
    assert discovery.source(made) is made
    assert discovery.source('zk://h/kv', username='u', password='p', grace=7).policy.grace == 7


@pytest.mark.parametrize(
    ('value', 'options', 'error'),
    [
        (None, {}, TypeError),
        (5, {}, TypeError),
        ([], {}, ValueError),
        (['kv:0'], {}, ValueError),
        (['kv:1', 'kv:1'], {}, ValueError),
        (list, {'interval': 0}, ValueError),
        ('file:kv.json', {'familiy': 4}, TypeError),
        (discovery.StaticSource(['kv:1']), {'interval': 5}, TypeError),
    ],
)
def test_bad_objects(value, options, error):
    """Anything else is refused."""
    with pytest.raises(error):
        discovery.source(value, **options)


def test_only_some_can_be_registered_in():
    """DNS and files are written by others."""
    with pytest.raises(ValueError, match='use a zk:// or etcd:// URL'):
        discovery.register('dns://kv.test', 'kv:1')
    with pytest.raises(ValueError, match='unix socket'):
        discovery.register('zk://h:1/kv', 'unix:/run/kv')
    with pytest.raises(ValueError, match='ttl'):
        discovery.register('etcd://h:1/kv', 'kv:1', ttl=500)


@pytest.mark.parametrize(
    'address',
    ['thrifts://kv:1', 'http://kv:1', 'https://kv:1/path', 'thrift://kv:1?frame=1',
     'thrift://u:secret@kv:1', 'unix:/run/kv'],
)  # fmt: skip
def test_a_server_set_has_only_hosts_and_ports(address):
    """What else an address says would be lost without a word, so it is refused."""
    with pytest.raises(ValueError, match='a ServerSet can') as caught:
        discovery.register('zk://h:1/kv', address)
    assert 'secret' not in str(caught.value)
    with pytest.raises(ValueError, match='a ServerSet can'):
        discovery.register('zk://h:1/kv', 'kv:1', additional={'admin': address})


@pytest.mark.parametrize(
    ('module', 'url', 'extra'),
    [
        ('kazoo', 'zk://h/kv', 'zookeeper'),
        ('etcd3gw', 'etcd://h/kv', 'etcd'),
        ('dns', 'srv://_thrift._tcp.kv.test', 'dns'),
        ('dns', 'dns://kv.test?nameservers=10.0.0.1', 'dns'),
        ('yaml', 'file:kv.yaml', 'yaml'),
    ],
)
def test_missing_extras_are_named(module, url, extra):
    """Without its library a source says what to install, and the rest works."""
    program = f"""
import sys
sys.modules[{module!r}] = None
from thrift_client import discovery
discovery.source(['kv:1']), discovery.source('dns://kv.test'), discovery.source('file:kv.json')
try:
    discovery.source({url!r})
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert f"pip install 'thrift_client[{extra}]'" in done.stdout, done.stderr
