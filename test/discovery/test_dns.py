"""Names and SRV records, looked up at a real name server whose records change."""

import time

import pytest

from discovery.helpers import wait_until
from on_loop_pools import made
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncReplicatedClient
from thrift_client.discovery import DnsSource, SrvSource

FAST = {'min_interval': 50, 'interval': 100, 'retry': 50, 'max_retry': 100, 'timeout': 250}
SRV = '_thrift._tcp.kv.test'
KINDS = (
    HashClient, ReplicatedClient, BalancedClient,
    AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
)  # fmt: skip


def host(name, *addresses):
    """A record of dnsmasq's for a name."""
    return f'--host-record={name},{",".join(addresses)}'


def srv(target, port, priority=0, weight=0):
    """An SRV record of dnsmasq's."""
    return f'--srv-host={SRV},{target},{port},{priority},{weight}'


def test_the_system_resolver_is_asked(recorder, watch):
    """Each address of a name is a server, named by address and port."""
    watch(DnsSource('localhost', 9090, family=4))
    recorder.wait_names('127.0.0.1:9090')


def test_a_name_that_does_not_exist_is_trouble(recorder, watch):
    """The error of the system's resolver is reported."""
    watch(DnsSource('no-such-name.invalid', 9090))
    recorder.wait_for(lambda: recorder.troubles)
    assert 'no-such-name.invalid' in str(recorder.troubles[0])
    assert not recorder.updates


def test_addresses_are_followed(dnsmasq, recorder, watch):
    """Both families are asked, and a changed answer is told after its time to live."""
    dnsmasq.serve(host('kv.test', '127.0.0.1', '::1'))
    source = DnsSource('kv.test', 90, nameservers=[dnsmasq.address], grace=0, **FAST)
    watch(source)
    recorder.wait_names('127.0.0.1:90', '[::1]:90')
    dnsmasq.serve(host('kv.test', '127.0.0.1'), host('kv.test', '127.0.0.2'))
    recorder.wait_names('127.0.0.1:90', '127.0.0.2:90')


def test_one_family(dnsmasq, recorder, watch):
    """A server with two addresses counts once where one family is asked for."""
    dnsmasq.serve(host('kv.test', '127.0.0.1', '::1'))
    watch(DnsSource('kv.test', 90, nameservers=[dnsmasq.address], family=6, **FAST))
    recorder.wait_names('[::1]:90')


@pytest.mark.parametrize('end', ['gone', 'silent', 'removed'])
def test_a_lost_name_server_changes_nothing(dnsmasq, recorder, watch, end):
    """If it refuses, is silent or no longer knows the name, the last addresses stay."""
    dnsmasq.serve(host('kv.test', '127.0.0.1'))
    watch(DnsSource('kv.test', 90, nameservers=[dnsmasq.address], **FAST))
    recorder.wait_names('127.0.0.1:90')
    if end == 'silent':
        dnsmasq.pause()
    elif end == 'gone':
        dnsmasq.kill()
    else:
        dnsmasq.serve()
    recorder.wait_for(lambda: recorder.troubles)
    assert 'kv.test' in str(recorder.troubles[0])
    dnsmasq.serve(host('kv.test', '127.0.0.3'))
    recorder.wait_for(lambda: '127.0.0.3:90' in recorder.names)
    assert all(recorder.updates)


def test_the_time_to_live_is_kept_within_bounds(dnsmasq, recorder, watch):
    """A record that holds for an hour is asked for again after the longest interval."""
    dnsmasq.serve('--local-ttl=3600', host('kv.test', '127.0.0.1'))
    options = FAST | {'interval': 300}
    watch(DnsSource('kv.test', 90, nameservers=[dnsmasq.address], grace=0, **options))
    recorder.wait_names('127.0.0.1:90')
    dnsmasq.serve('--local-ttl=3600', host('kv.test', '127.0.0.2'))
    started = time.monotonic()
    recorder.wait_names('127.0.0.2:90')
    assert time.monotonic() - started < 5


def test_the_time_to_live_is_respected(dnsmasq, recorder, watch):
    """An answer that holds for a second is not asked for again before."""
    dnsmasq.serve('--local-ttl=1', '--log-queries', host('kv.test', '127.0.0.1'))
    options = FAST | {'interval': 5_000}
    watch(DnsSource('kv.test', 90, nameservers=[dnsmasq.address], family=4, **options))
    recorder.wait_names('127.0.0.1:90')
    first, second = dnsmasq.wait_queries(2)
    assert second - first > 0.8


def test_srv_records(dnsmasq, recorder, watch):
    """The targets of the best priority are the servers, with weights and names that stay."""
    hosts = [host(f'h{n}.test', f'127.0.0.{n}') for n in (1, 2, 3)]
    backup = srv('h3.test', 9, priority=20, weight=9)
    dnsmasq.serve(*hosts, srv('h2.test', 9, 10, 5), srv('h1.test', 8, 10, 0), backup)
    watch(SrvSource(SRV, nameservers=[dnsmasq.address], grace=0, **FAST))
    recorder.wait_names('h1.test:8', 'h2.test:9')
    assert [m.address for m in recorder.updates[0]] == ['127.0.0.1:8', '127.0.0.2:9']
    assert [m.weight for m in recorder.updates[0]] == [1, 5]
    assert recorder.updates[0][0].metadata == {'priority': 10}
    dnsmasq.serve(*hosts, backup)
    recorder.wait_names('h3.test:9')


def test_an_srv_target_that_moves_keeps_its_name(dnsmasq, recorder, watch):
    """A new address of a target is a change of that server, not a new one."""
    dnsmasq.serve(host('h1.test', '127.0.0.1'), srv('h1.test', 9))
    watch(SrvSource(SRV, nameservers=[dnsmasq.address], **FAST))
    recorder.wait_names('h1.test:9')
    dnsmasq.serve(host('h1.test', '127.0.0.7'), srv('h1.test', 9))
    recorder.wait_for(lambda: recorder.updates[-1][0].host == '127.0.0.7')
    assert recorder.names == ['h1.test:9']


def test_srv_records_that_say_no_change_nothing(dnsmasq, recorder, watch):
    """Neither a target of '.', nor targets without addresses, nor no record empties the pool."""
    dnsmasq.serve(host('h1.test', '127.0.0.1'), srv('h1.test', 9))
    watch(SrvSource(SRV, nameservers=[dnsmasq.address], **FAST))
    recorder.wait_names('h1.test:9')
    for number, records in enumerate([['--srv-host=' + SRV], [srv('h2.test', 9)], []], 1):
        dnsmasq.serve(*records)
        recorder.wait_for(lambda number=number: len(recorder.troubles) == number)
        dnsmasq.serve(host('h1.test', f'127.0.0.{number + 1}'), srv('h1.test', 9))
        wanted = f'127.0.0.{number + 1}'
        recorder.wait_for(lambda wanted=wanted: recorder.updates[-1][0].host == wanted)
    assert all(update[0].name == 'h1.test:9' for update in recorder.updates)


#: Records that aren't servers: what dnsmasq serves, and what the warning says.
BAD_RECORDS = {
    'port 0': ([host('h2.test', '127.0.0.2'), srv('h2.test', 0)], 'port 0 is not between'),
    'no address': ([srv('h2.test', 9)], 'h2.test:9 has no address'),
}


@pytest.mark.parametrize('bad', BAD_RECORDS)
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_an_srv_record_that_is_not_a_server(dnsmasq, caplog, kind, bad):
    """Pools that route by key keep their last list; the others leave it out. Both say why."""
    one = [host('h1.test', '127.0.0.1'), srv('h1.test', 9)]
    three = [host('h3.test', '127.0.0.3'), srv('h3.test', 9)]
    records, reason = BAD_RECORDS[bad]
    dnsmasq.serve(*one)
    source = SrvSource(SRV, nameservers=[dnsmasq.address], grace=0, **FAST | {'timeout': 3000})
    with made(kind, test_service, servers=source) as pool:
        wait_until(lambda: len(pool) == 1)
        dnsmasq.serve(*one, *records, *three)
        wait_until(lambda: reason in caplog.text)
        if kind in (HashClient, AsyncHashClient):
            assert 'keeping the last 1 servers' in caplog.text
            assert [server.name for server in pool] == ['h1.test:9']
        else:
            wait_until(lambda: len(pool) == 2)
            assert [server.name for server in pool] == ['h1.test:9', 'h3.test:9']
            assert 'leaving out 1' in caplog.text
        dnsmasq.serve(*three)
        wait_until(lambda: [server.name for server in pool] == ['h3.test:9'])
