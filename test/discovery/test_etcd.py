"""Keys in a real etcd, with leases that expire, cut networks, restarts, TLS and users."""

import base64
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest
import trustme

from discovery.conftest import etcd_in
from discovery.helpers import LONG, wait_until
from thrift_client import discovery
from thrift_client.discovery import EtcdSource, Member
from thrift_client.testing import ClosedPort, ToxicProxy
from thrift_client.testing.toxics import Down, HalfOpen

FAST = {'retry': 50, 'max_retry': 100, 'grace': 0}
#: Long enough that only the watch can have reported a change.
WATCHED = FAST | {'interval': 60_000}
POLLED = FAST | {'interval': 50, 'watch': False}
SOON = {'interval': 200}
_prefixes = count()


@pytest.fixture
def prefix():
    """A prefix that no other test uses."""
    return f'/services/kv-{next(_prefixes)}'


def register(server, prefix, address, **options):
    """Register an address under a prefix of an etcd, or of a proxy to it."""
    where = server if isinstance(server, str) else server.address
    return discovery.register(f'etcd://{where}{prefix}', address, **options)


def client_of(server):
    """A foreign client."""
    import etcd3gw

    return etcd3gw.client(host='127.0.0.1', port=server.port, timeout=5)


@pytest.fixture
def operator(etcd):
    """A client of another make."""
    client = client_of(etcd)
    yield client
    client.session.close()


@pytest.fixture
def proxy(etcd):
    """A network to etcd that can be cut."""
    with ToxicProxy(etcd.address) as proxy:
        yield proxy


@pytest.mark.parametrize('options', [WATCHED, POLLED], ids=['watched', 'polled'])
def test_keys_are_followed(etcd, operator, prefix, recorder, watch, options):
    """Keys that come, change and go are told, and no others."""
    watch(EtcdSource(etcd.address, prefix, **options))
    recorder.wait_for(lambda: recorder.troubles)  # there is no such key yet
    operator.put(f'{prefix}/one', 'kv:1')
    recorder.wait_names('one')
    operator.put(f'{prefix}-other/two', 'kv:2')
    operator.put(f'{prefix}/two', '{"Addr": "kv:2", "Metadata": {"zone": "a"}}')
    recorder.wait_names('one', 'two')
    assert recorder.updates[-1][1] == Member('kv:2', 'two', metadata={'zone': 'a'})
    operator.put(f'{prefix}/one', '{"host": "kv", "port": 3, "weight": 2}')
    recorder.wait_for(lambda: recorder.updates[-1][0].weight == 2)
    operator.delete(f'{prefix}/two')
    recorder.wait_names('one')
    operator.delete(f'{prefix}/one')
    recorder.wait_for(lambda: len(recorder.troubles) == 2)
    assert recorder.names == ['one']


def test_a_broken_key_is_left_out(etcd, operator, prefix, recorder, watch, caplog):
    """One bad value hides its own server alone, with one warning; all bad change nothing."""
    operator.put(f'{prefix}/one', 'kv:1')
    operator.put(f'{prefix}/two', '{"host": ')
    watch(EtcdSource(etcd.address, prefix, **WATCHED))
    recorder.wait_names('one')
    operator.put(f'{prefix}/six', 'kv:6')
    recorder.wait_names('one', 'six')
    assert [f'{prefix}/two' in record.getMessage() for record in caplog.records] == [True]
    operator.delete(f'{prefix}/one')
    recorder.wait_names('six')
    operator.put(f'{prefix}/six', b'\xff')
    recorder.wait_for(lambda: recorder.troubles)
    operator.put(f'{prefix}/six', 'kv:7')
    recorder.wait_for(lambda: recorder.updates[-1][0].address == 'kv:7')


def test_a_server_registers(etcd, operator, prefix, recorder, watch):
    """Its key has a lease, and goes when the registration is closed."""
    watch(EtcdSource(etcd.address, prefix, **WATCHED))
    url = f'etcd://{etcd.address}{prefix}'
    with discovery.register(url, 'kv:1', weight=2, metadata={'zone': 'a'}) as registration:
        assert registration.wait(LONG * 1000)
        recorder.wait_names('kv:1')
        assert recorder.updates[0] == (Member('kv:1', weight=2, metadata={'zone': 'a'}),)
        ((_, entry),) = operator.get_prefix(f'{prefix}/')
        assert int(entry['lease'])
    assert operator.get_prefix(f'{prefix}/') == []


@pytest.mark.parametrize('part', ['bücher', '日本'])
@pytest.mark.parametrize('options', [WATCHED, POLLED], ids=['watched', 'polled'])
def test_keys_in_any_script(etcd, operator, prefix, recorder, watch, part, options):
    """Prefixes and names are encoded as UTF-8, by sources and by registrations."""
    prefix = f'{prefix}/{part}'
    watch(EtcdSource(etcd.address, prefix, **options))
    recorder.wait_for(lambda: recorder.troubles)  # there is no such key yet
    operator.put(f'{prefix}/{part}'.encode(), 'kv:1')
    recorder.wait_names(part)
    with register(etcd, prefix, 'kv:2', name=f'{part}-2') as registration:
        assert registration.wait(LONG * 1000)
        recorder.wait_names(part, f'{part}-2')
    recorder.wait_names(part)


def test_a_name_is_not_taken_from_another_server(etcd, operator, prefix, caplog):
    """The second registration warns, waits, and holds once the first has gone."""
    url = f'etcd://{etcd.address}{prefix}'
    first = discovery.register(url, 'kv:1', name='one')
    assert first.wait(LONG * 1000)
    with discovery.register(url, 'kv:2', name='one') as second:
        end = time.monotonic() + LONG
        while 'registered already, by another server' not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)  # a log has no events
        assert not second.wait(50)
        assert b'kv:1' in operator.get(f'{prefix}/one')[0]
        first.close()
        assert second.wait(LONG * 1000)
        assert b'kv:2' in operator.get(f'{prefix}/one')[0]


def test_a_server_that_is_started_again_takes_its_key_back(etcd, operator, prefix):
    """A key that its crashed predecessor left is no other server's."""
    url = f'etcd://{etcd.address}{prefix}'
    operator.put(f'{prefix}/one', 'kv:1', lease=operator.lease(ttl=LONG))
    with discovery.register(url, 'kv:1', name='one') as registration:
        assert registration.wait(LONG * 1000)


class Gateway(BaseHTTPRequestHandler):
    """An etcd whose watch ends after each message, and whose lists may be endless."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"etcdserver": "3.5.0", "etcdcluster": "3.5.0"}')

    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Connection', 'close')
        self.end_headers()
        if self.path.endswith('/watch'):
            self.wfile.write(b'{"result": {"created": true}}')
            return
        self.server.reads += 1
        key, value = (base64.b64encode(text).decode() for text in (b'/kv/one', b'kv:1'))
        self.wfile.write(json.dumps({'kvs': [{'key': key, 'value': value}]}).encode()[:-1])
        try:
            while self.server.endless:
                self.wfile.write(b' ' * 1_000_000)
        except OSError:
            return
        self.wfile.write(b'}')

    def log_message(self, *args):
        """Keep silent."""


@pytest.fixture
def gateway():
    """Such an etcd, in threads of its own."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Gateway)
    server.reads, server.endless = 0, False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(LONG)
    server.server_close()


def test_a_watch_that_ends_at_once_makes_no_storm(gateway, recorder, watch):
    """It is opened again once in a second, with a reading or two for each."""
    watch(EtcdSource(f'127.0.0.1:{gateway.server_port}', '/kv/', **WATCHED))
    recorder.wait_names('one')
    time.sleep(2.5)  # what is counted is how often something happens in a time
    assert 2 <= gateway.reads <= 7


def test_an_endless_list_is_trouble(gateway, recorder, watch):
    """No more is read of it than a list may have."""
    gateway.endless = True
    options = {'watch': False, 'retry': 60_000, 'max_retry': 60_000}
    watch(EtcdSource(f'127.0.0.1:{gateway.server_port}', '/kv/', **options))
    recorder.wait_for(lambda: recorder.troubles)
    assert 'more than 16000000 bytes' in str(recorder.troubles[0])


def test_nobody_waits_for_a_registration_that_is_closed(prefix):
    """Whoever waits for a key that was not made by then hears that it never will be."""
    with ClosedPort() as nowhere:
        registration = discovery.register(f'etcd://{nowhere.address}{prefix}', 'kv:1')
        heard = []
        waiting = threading.Thread(
            target=lambda: heard.append(registration.wait(LONG * 1000)), daemon=True
        )
        waiting.start()
        began = time.monotonic()
        registration.close()
        waiting.join()
    assert heard == [False]
    assert time.monotonic() - began < LONG
    assert not registration.wait(LONG * 1000)
    assert time.monotonic() - began < LONG


@pytest.mark.parametrize('loss', ['key', 'lease'])
def test_what_is_lost_is_made_anew(etcd, operator, prefix, recorder, watch, loss):
    """A registration notices that its key or its lease is gone."""
    with register(etcd, prefix, 'kv:1', ttl=1_000) as registration:
        assert registration.wait(LONG * 1000)
        operator.put(f'{prefix}/kv:2', 'kv:2')
        watch(EtcdSource(etcd.address, prefix, **WATCHED))
        recorder.wait_names('kv:1', 'kv:2')
        if loss == 'key':
            operator.delete(f'{prefix}/kv:1')
        else:
            ((_, entry),) = operator.get(f'{prefix}/kv:1', metadata=True)
            operator.post(operator.get_url('/kv/lease/revoke'), json={'ID': entry['lease']})
        recorder.wait_names('kv:2')
        recorder.wait_names('kv:1', 'kv:2')


def test_a_registration_outlives_its_lease(etcd, operator, prefix, proxy, recorder, watch):
    """A server that was cut off until its lease expired is there again when the network is."""
    operator.put(f'{prefix}/kv:2', 'kv:2')
    watch(EtcdSource(etcd.address, prefix, **WATCHED))
    with register(proxy, prefix, 'kv:1', ttl=1_000):
        recorder.wait_names('kv:1', 'kv:2')
        cut = proxy.add(Down())
        recorder.wait_names('kv:2')
        proxy.remove(cut)
        recorder.wait_names('kv:1', 'kv:2')


@pytest.mark.parametrize('toxic', [Down(), HalfOpen()], ids=['refused', 'swallowed'])
def test_a_cut_network_changes_nothing(
    etcd, operator, prefix, proxy, recorder, watch, caplog, toxic
):
    """The last list stays, with one warning, and the new one comes with the network."""
    operator.put(f'{prefix}/one', 'kv:1')
    watch(EtcdSource(proxy.address, prefix, timeout=300, **FAST, **SOON))
    recorder.wait_names('one')
    cut = proxy.add(toxic)
    recorder.wait_for(lambda: recorder.troubles)
    operator.put(f'{prefix}/two', 'kv:2')
    operator.delete(f'{prefix}/one')
    proxy.remove(cut)
    proxy.cut()
    recorder.wait_names('two')
    assert len(recorder.updates) == 2
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_restart_is_survived(etcd_to_kill, recorder, watch):
    """While etcd is away the list stays; afterwards all register and follow again."""
    address = etcd_to_kill.address
    with register(address, '/kv', 'kv:1', ttl=3_000):
        watch(EtcdSource(address, '/kv', **FAST, **SOON))
        recorder.wait_names('kv:1')
        etcd_to_kill.kill()
        recorder.wait_for(lambda: recorder.troubles)
        etcd_to_kill.start()
        with register(address, '/kv', 'kv:2'):
            recorder.wait_for(lambda: 'kv:2' in recorder.names)
            recorder.wait_names('kv:1', 'kv:2')
    assert all(recorder.updates)


def test_the_next_host_is_asked(etcd, operator, prefix, recorder, watch):
    """A cluster can be used as long as one of its hosts can."""
    operator.put(f'{prefix}/one', 'kv:1')
    watch(EtcdSource(f'127.0.0.1:1,{etcd.address}', prefix, **WATCHED))
    recorder.wait_names('one')


@pytest.mark.parametrize('state', ['refused', 'silent', 'hangs later'])
def test_close_is_prompt(proxy, prefix, recorder, state):
    """Whatever etcd does, closing a watch or registration takes less than a second."""
    with ExitStack() as held:
        listener = held.enter_context(socket.create_server(('127.0.0.1', 0)))
        silent = f'127.0.0.1:{listener.getsockname()[1]}'
        address = {'silent': silent, 'refused': '127.0.0.1:1'}.get(state, proxy.address)
        watching = EtcdSource(address, prefix, **FAST).watch(recorder)
        registration = register(address, prefix, 'kv:1')
        if state == 'hangs later':
            assert registration.wait(LONG * 1000)
            recorder.wait_names('kv:1')
            proxy.add(HalfOpen())
        elif state == 'refused':
            recorder.wait_for(lambda: recorder.troubles)
        else:
            for _ in range(2):  # it accepts, and never answers
                held.enter_context(listener.accept()[0])
        for each in (watching, registration):
            started = time.monotonic()
            each.close()
            assert time.monotonic() - started < 1
        wait_until(
            lambda: not [each for each in threading.enumerate() if 'thrift_client' in each.name]
        )


def test_users(tmp_path, recorder, watch, caplog):
    """A user's name and password are needed, a lost token is replaced, and none is shown."""
    caplog.set_level(1)
    with etcd_in(tmp_path) as server:
        operator = client_of(server)
        for call, what in [
            ('/auth/user/add', {'name': 'root', 'password': 'open-sesame'}),
            ('/auth/role/add', {'name': 'root'}),
            ('/auth/user/grant', {'user': 'root', 'role': 'root'}),
            ('/auth/enable', {}),
        ]:
            operator.post(operator.get_url(call), json=what)
        operator.session.close()
        stranger = watch(EtcdSource(server.address, '/kv', **FAST))
        recorder.wait_for(lambda: recorder.troubles)
        stranger.close()
        liar = watch(discovery.source(f'etcd://root:sesame-open@{server.address}/kv', **FAST))
        recorder.wait_for(lambda: len(recorder.troubles) == 2)
        liar.close()
        caplog.clear()  # what follows is ours; above a client of the test's own may log
        source = discovery.source(f'etcd://root:open-sesame@{server.address}/kv', **FAST, **SOON)
        user = {'username': 'root', 'password': 'open-sesame'}
        with register(server, '/kv', 'kv:1', ttl=1_000, **user) as registration:
            watching = watch(source)
            recorder.wait_names('kv:1')
            server.kill()  # with it go the tokens
            server.start()
            with discovery.register(f'etcd://root:open-sesame@{server.address}/kv', 'kv:2'):
                recorder.wait_for(lambda: 'kv:2' in recorder.names)
                recorder.wait_names('kv:1', 'kv:2')
            shown = [repr(each) for each in (source, watching, registration, vars(source))]
    said = '\n'.join([*shown, caplog.text, *map(repr, recorder.troubles)])
    assert 'open-sesame' not in said
    assert 'sesame-open' not in said
    assert 'user name is empty' in str(recorder.troubles[0])


def test_tls(tmp_path, recorder, watch):
    """With TLS both sides show certificates; a server of another authority is refused."""
    authority, stranger = trustme.CA(), trustme.CA()
    ours, theirs = authority.issue_cert('127.0.0.1'), authority.issue_cert('kv@kv.test')
    paths = {name: tmp_path / f'{name}.pem' for name in ('ca', 'wrong', 'cert', 'key')}
    authority.cert_pem.write_to_path(paths['ca'])
    stranger.cert_pem.write_to_path(paths['wrong'])
    theirs.cert_chain_pems[0].write_to_path(paths['cert'])
    theirs.private_key_pem.write_to_path(paths['key'])
    ours.cert_chain_pems[0].write_to_path(tmp_path / 'server.pem')
    ours.private_key_pem.write_to_path(tmp_path / 'server.key')
    tls = [
        *(f'--cert-file={tmp_path}/server.pem', f'--key-file={tmp_path}/server.key'),
        *(f'--trusted-ca-file={paths["ca"]}', '--client-cert-auth'),
    ]
    with etcd_in(tmp_path, *tls) as server:
        url = f'etcds://{server.address}/kv?cert={paths["cert"]}&key={paths["key"]}'
        doubter = watch(discovery.source(f'{url}&ca={paths["wrong"]}', **FAST))
        recorder.wait_for(lambda: recorder.troubles)
        doubter.close()
        watch(discovery.source(f'{url}&ca={paths["ca"]}', **WATCHED))
        with discovery.register(f'{url}&ca={paths["ca"]}', 'kv:1') as one:
            assert one.wait(LONG * 1000)
            recorder.wait_names('kv:1')
            with discovery.register(f'{url}&ca={paths["ca"]}', 'kv:2'):
                recorder.wait_names('kv:1', 'kv:2')


def test_an_exit_unregisters(etcd, operator, prefix):
    """A process that ends without closing leaves no key behind, and no traceback."""
    program = f"""
from thrift_client import discovery
class Listener:
    def update(self, members): pass
    def trouble(self, exception): pass
listener = Listener()
watch = discovery.source('etcd://{etcd.address}{prefix}').watch(listener)
discovery.register('etcd://{etcd.address}{prefix}', 'kv:1').wait(10000)
"""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert operator.get_prefix(f'{prefix}/') == []
    assert time.monotonic() - started < LONG
