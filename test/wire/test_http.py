"""HTTP: kept connections, headers, cookies, credentials, proxies, statuses and limits."""

import base64
import gzip
import json
import math
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from email.utils import formatdate

import pytest

from handlers import Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import BalancedClient, HashClient, RetryPolicy, SimpleClient, errors
from wire.http_server import HttpServer, send


@pytest.fixture
def client_of(face):
    """Make clients of an HttpServer."""

    def make(server, path='/kv', user='', **options):
        url = f'http://{user}127.0.0.1:{server.port}{path}'
        return face.client(test_service, url, timeout=5000, **options)

    return make


def raw(answer):
    """Answer with these bytes, and close."""

    def respond(handler, _):
        handler.wfile.write(answer)
        handler.close_connection = True

    return respond


def test_a_connection_is_kept(client_of):
    """Calls go over one connection, to the path of the URL."""
    with HttpServer() as server, client_of(server) as client:
        client.setk('k', 'v')
        assert [client.getk('k') for _ in range(5)] == ['v'] * 5
        assert server.opened == 1
        path, headers = server.requests[0]
        assert path == '/kv'
        assert headers['Host'] == f'127.0.0.1:{server.port}'
        assert headers['Content-Type'] == 'application/x-thrift'


def test_a_fan_out_keeps_its_connections(face):
    """Fan-outs and pools reuse their HTTP connections."""
    with HttpServer() as one, HttpServer() as two:
        servers = [f'http://127.0.0.1:{server.port}/' for server in (one, two)]
        with face.fan_out(test_service, servers=servers) as pool:
            for _ in range(3):
                assert [each.value() for each in pool.ping()] == ['pong', 'pong']
        assert (one.opened, two.opened) == (1, 1)


def test_a_server_that_closes_is_not_asked_again(client_of):
    """`Connection: close` is obeyed."""
    with HttpServer(headers=[('Connection', 'close')]) as server, client_of(server) as client:
        assert [client.ping() for _ in range(3)] == ['pong'] * 3
        assert server.opened == 3


def test_a_body_may_end_with_the_connection(client_of):
    """HTTP/1.0 servers end a body without a length by closing."""
    with HttpServer() as server:
        server.answer = lambda handler, body: raw(
            b'HTTP/1.0 200 OK\r\n\r\n' + server.call(body)
        )(handler, body)
        with client_of(server) as client:
            assert [client.ping() for _ in range(2)] == ['pong', 'pong']


@pytest.mark.parametrize('kind', ['client', 'hash pool', 'fan-out'])
def test_a_body_without_length_ends_its_connection(kind, face):
    """In HTTP/1.1, too: a connection that had been kept until then is not used again."""
    answered = 0

    def answer(handler, body):
        nonlocal answered
        answered += 1
        if answered % 3:
            server.serve(handler, body)
        else:
            raw(b'HTTP/1.1 200 OK\r\n\r\n' + server.call(body))(handler, body)

    with HttpServer(answer) as server:
        client, call = calling(face, kind, f'http://127.0.0.1:{server.port}/')
        with client:
            assert [call() for _ in range(9)] == ['pong'] * 9
        assert server.opened == 3


def test_a_chunked_body_is_read(client_of):
    """Chunks of any size are read."""

    def answer(handler, body):
        handler.send_response(200)
        handler.send_header('Transfer-Encoding', 'chunked')
        handler.end_headers()
        reply = server.call(body)
        for i in range(len(reply)):
            handler.wfile.write(b'1\r\n' + reply[i : i + 1] + b'\r\n')
        handler.wfile.write(b'0\r\n\r\n')

    with HttpServer(answer) as server, client_of(server) as client:
        assert [client.ping() for _ in range(2)] == ['pong', 'pong']
        assert server.opened == 1


def test_a_compressed_body_is_read(client_of):
    """Although the client didn't ask for it."""
    with HttpServer() as server:
        server.answer = lambda handler, body: send(
            handler, 200, gzip.compress(server.call(body)), [('Content-Encoding', 'gzip')]
        )
        with client_of(server) as client:
            assert client.ping() == 'pong'


@pytest.mark.parametrize('cut', [1, 8, 9])
def test_a_compressed_body_that_is_cut_short(cut, client_of):
    """Its end is missing, though all of the message may be there; or only its checksum is."""
    with HttpServer() as server:
        server.answer = lambda handler, body: send(
            handler, 200, gzip.compress(server.call(body))[:-cut], [('Content-Encoding', 'gzip')]
        )
        with client_of(server) as client, pytest.raises(errors.DecodeError, match='truncated'):
            client.ping()


def test_headers_are_sent(client_of):
    """Fixed ones, and those of a callable in the thread of the call, which override ours."""
    asked = []

    def headers():
        asked.append(threading.current_thread())
        return {'X-Call': str(len(asked)), 'User-Agent': 'mine'}

    with HttpServer() as server, client_of(server, headers={'X-Fixed': 'yes'}) as client:
        client.ping()
        client.with_options(headers=headers).ping()
        client.with_options(headers=headers).ping()
        seen = [request[1] for request in server.requests]
        assert seen[0]['X-Fixed'] == 'yes'
        assert [each['X-Call'] for each in seen[1:]] == ['1', '2']
        assert seen[1]['User-Agent'] == 'mine'
        assert asked == [getattr(client, 'thread', threading.current_thread())] * 2


@pytest.mark.parametrize('headers', [{'a': 1}, [('a', 'b')], 'a: b'])
def test_other_headers_are_a_type_error(headers):
    """The constructor raises the TypeError."""
    with pytest.raises(TypeError, match='headers'):
        SimpleClient(test_service, headers=headers)


@pytest.mark.parametrize('headers', [{'a b': 'c'}, {'a': 'b\r\nc: d'}])
def test_impossible_headers_are_an_encode_error(headers, client_of):
    """No header can add others to a request."""
    with HttpServer() as server, client_of(server, headers=headers) as client:
        with pytest.raises(errors.EncodeError):
            client.ping()
        assert not server.requests


def test_reply_headers_are_on_the_response(face):
    """Responses of hash pools and fan-outs have the reply's headers."""
    with HttpServer(headers=[('X-Answer', '42')]) as server:
        url = f'http://127.0.0.1:{server.port}/'
        for make in (face.hash_pool, face.fan_out):
            with make(test_service, servers=[url]) as pool:
                responses = pool.setk('k', 'v')
                response = responses[0] if isinstance(responses, list) else responses
                assert response.headers['x-answer'] == '42'


@pytest.mark.parametrize('kind', ['hash pool', 'fan-out', 'balanced pool'])
@pytest.mark.parametrize('last', ['answers', 'is silent'])
def test_an_error_response_is_about_the_last_attempt(last, kind, face):
    """It has the number of attempts, and the headers of its own answer, if there was one."""
    release = threading.Event()
    came = 0

    def answer(handler, body):
        nonlocal came
        came += 1
        server.headers = [('X-Answer', str(came))]
        if came == 3 and last == 'is silent':
            release.wait(5)
        server.serve(handler, body)

    makers = {'hash pool': face.hash_pool, 'fan-out': face.fan_out, 'balanced pool': face.balanced}
    policy = RetryPolicy(attempts=3, backoff=1, retry_on=NotFound)
    with HttpServer(answer) as server:
        server.processor = rich_service.Processor(Rich())
        options = {'idempotent': True, 'retry': policy, 'timeout': 500, 'max_idle': 0}
        urls = [f'http://127.0.0.1:{server.port}/']
        with makers[kind](rich_service, servers=urls, **options) as pool:
            got = pool.find('missing', False)
            response = got[0] if isinstance(got, list) else got
        release.set()
    assert response.attempts == 3
    if last == 'answers':
        assert isinstance(response.exception, NotFound)
        assert response.headers['x-answer'] == '3'
    else:
        assert isinstance(response.exception, errors.CallTimeout)
        assert response.exception.attempts == 3
        assert response.headers is None


def test_cookies_come_back(client_of):
    """What a server sets is sent with the client's next calls, on any connection."""
    with HttpServer(headers=[('Set-Cookie', 'session=abc; Path=/')]) as server:
        with client_of(server) as client:
            client.ping()
            client.ping()
        with client_of(server) as other:
            other.ping()
    cookies = [headers.get('Cookie') for _, headers in server.requests]
    assert cookies == [None, 'session=abc', None]


@pytest.mark.parametrize('kind', ['client', 'hash pool', 'fan-out', 'balanced pool'])
@pytest.mark.parametrize('cookie', ['name=\xe9', 'name=a\x85', 'n\xe9=1'])
def test_a_cookie_that_cannot_be_sent_is_dropped(cookie, kind, face):
    """The calls after it are made without it."""
    with HttpServer(headers=[('Set-Cookie', cookie), ('Set-Cookie', 'good=1')]) as server:
        client, call = calling(face, kind, f'http://127.0.0.1:{server.port}/')
        with client:
            assert [call() for _ in range(2)] == ['pong', 'pong']
        assert server.requests[1][1]['Cookie'] == 'good=1'


@pytest.mark.parametrize(
    ('user', 'sent'),
    [
        ('me:pass%3Aword@', 'Basic ' + base64.b64encode(b'me:pass:word').decode()),
        (':token@', 'Bearer token'),
    ],
)
def test_credentials_of_the_url_are_sent(user, sent, client_of):
    """Basic with a user, bearer without; they show in no text."""
    with HttpServer() as server, client_of(server, user=user) as client:
        client.ping()
        assert server.requests[0][1]['Authorization'] == sent
        for text in (repr(client), client.name, repr(client.stats())):
            assert 'word' not in text
            assert 'token' not in text


@pytest.mark.parametrize('size', [10, 100_000])
def test_a_status_is_an_error(size, client_of):
    """It has the start of the body; the connection is closed, and the next call is right."""
    with HttpServer() as server, client_of(server) as client:
        fine, server.answer = server.answer, lambda handler, _: send(
            handler, 503, b'x' * size, [('Retry-After', '2')]
        )
        with pytest.raises(errors.HttpStatusError) as caught:
            client.ping()
        assert caught.value.status == 503
        assert caught.value.body == b'x' * min(size, 1024)
        assert caught.value.retry_after == 2000
        assert '503 Service Unavailable' in str(caught.value)
        server.answer = fine
        assert client.ping() == 'pong'


@pytest.mark.parametrize(
    ('value', 'expected'), [(b'2', 2000), (b'\xb2', None), (b'Fri, 31 Dec 1999', None)]
)
def test_retry_after(value, expected, client_of):
    """Seconds become ms; any other form is ignored."""
    status = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: ' + value + b'\r\n\r\n'
    with (
        HttpServer(raw(status)) as server,
        client_of(server) as client,
        pytest.raises(errors.HttpStatusError) as caught,
    ):
        client.ping()
    assert caught.value.retry_after == expected


BUSY_CLIENTS = ('client', 'hash pool', 'fan-out')


def calling(face, kind, *addresses, service=test_service, method='ping', **options):
    """Make a client or pool; and return what calls it: the value, or raises."""
    options = {'timeout': 5000, 'retry': RetryPolicy(backoff=1), **options}
    if kind == 'client':
        client = face.client(service, *addresses, **options)
        return client, getattr(client, method)
    makers = {'hash pool': face.hash_pool, 'fan-out': face.fan_out, 'balanced pool': face.balanced}
    pool = makers[kind](service, servers=addresses, **options)

    def call(*args):
        got = getattr(pool, method)(*args)
        return (got[0] if isinstance(got, list) else got).value()

    return pool, call


@contextmanager
def busy_once(status, retry_after=None):
    """Run a server that refuses its first request with a status, and notes when each came."""
    came = []

    def answer(handler, body):
        came.append(time.monotonic())
        if len(came) > 1:
            server.serve(handler, body)
            return
        value = retry_after() if callable(retry_after) else retry_after
        send(handler, status, b'busy', [] if value is None else [('Retry-After', value)])

    with HttpServer(answer) as server:
        yield f'http://127.0.0.1:{server.port}/kv', came


def in_a_second():
    """Return the date of the first whole second that begins at least half a second from now."""
    return formatdate(math.ceil(time.time() + 0.5), usegmt=True)


@pytest.mark.parametrize('kind', BUSY_CLIENTS)
@pytest.mark.parametrize(
    ('status', 'retry_after', 'waits'),
    [(503, '1', 1.0), (429, in_a_second, 0.4), (503, None, 0), (429, '0', 0)],
    ids=['seconds', 'date', 'without', 'at once'],
)
def test_a_busy_server_is_asked_again(kind, status, retry_after, waits, face):
    """An idempotent call is, once the server wants it."""
    with busy_once(status, retry_after) as (address, came):
        client, call = calling(face, kind, address, idempotent=['ping'])
        with client:
            assert call() == 'pong'
        assert came[1] - came[0] >= waits


@pytest.mark.parametrize('retry_after', ['3000000', '999999999999'])
@pytest.mark.parametrize('is_fan_out', [False, True], ids=['hash pool', 'fan-out'])
def test_a_busy_server_may_ask_for_a_pause_of_years(is_fan_out, retry_after):
    """Without a timeout, the call pauses until its client is closed."""
    with busy_once(503, retry_after) as (address, came):
        pool = HashClient(test_service, servers=[address], idempotent=True, timeout=None)
        closer = threading.Timer(0.3, pool.close)
        closer.start()
        with pytest.raises(errors.ClientClosed):
            (pool.all.ping()[0] if is_fan_out else pool.ping()).value()
        closer.join()
        assert len(came) == 1


@pytest.mark.parametrize('kind', BUSY_CLIENTS)
@pytest.mark.parametrize(
    ('status', 'retry_after', 'idempotent'),
    [(503, '1', []), (503, '6', ['ping']), (500, '0', ['ping'])],
    ids=['not idempotent', 'after the timeout', 'another status'],
)
def test_a_busy_server_is_not_asked_again(kind, status, retry_after, idempotent, face):
    """A non-idempotent call, or a pause beyond the timeout, fails at once."""
    with busy_once(status, retry_after) as (address, came):
        client, call = calling(face, kind, address, idempotent=idempotent)
        with client, pytest.raises(errors.HttpStatusError) as caught:
            call()
        assert caught.value.status == status
        assert len(came) == 1


def test_a_balanced_call_leaves_a_busy_server_at_once():
    """The call moves to another server without waiting for Retry-After."""
    with busy_once(503, '60') as (busy, _), HttpServer() as free:
        servers = [busy, f'http://127.0.0.1:{free.port}/kv']
        options = {'timeout': 5000, 'idempotent': True, 'balance': 'round_robin'}
        with BalancedClient(test_service, servers=servers, **options) as pool:
            responses = [pool.ping() for _ in range(2)]
        assert [response.value() for response in responses] == ['pong', 'pong']
        assert sorted(response.attempts for response in responses) == [1, 2]
        assert all(response.elapsed < 1000 for response in responses)


def test_a_server_may_close_a_connection_after_any_response(client_of):
    """It says so in the response: the next call takes another connection at once."""
    answered = 0

    def answer(handler, body):
        nonlocal answered
        answered += 1
        server.headers = [('Connection', 'close')] if answered % 4 == 0 else []
        server.serve(handler, body)

    with HttpServer(answer) as server, client_of(server) as client:
        assert [client.ping() for _ in range(40)] == ['pong'] * 40
        assert server.opened == 10


@contextmanager
def refusing(answer, closes):
    """Run a server that answers before it has read a request; it then closes, or reads no more."""
    with socket.create_server(('127.0.0.1', 0)) as listener, ExitStack() as open_ones:

        def serve():
            with suppress(OSError):  # the end of the test
                while True:
                    connection = open_ones.enter_context(listener.accept()[0])
                    connection.recv(1000)
                    connection.sendall(answer)
                    if closes:
                        time.sleep(0.05)
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f'http://127.0.0.1:{listener.getsockname()[1]}/'
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize('kind', ['client', 'hash pool', 'fan-out', 'balanced pool'])
@pytest.mark.parametrize('closes', [True, False], ids=['closes', 'reads no more'])
@pytest.mark.parametrize(
    ('status', 'error'), [(413, errors.HttpStatusError), (401, errors.AuthError)]
)
def test_an_answer_may_come_while_the_request_is_sent(status, error, closes, kind, face):
    """The error says what the server said, and not that sending failed."""
    answer = f'HTTP/1.1 {status} No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig'
    with refusing(answer.encode(), closes) as url:
        timeout = 5000 if closes else 500
        client, call = calling(face, kind, url, method='setk', timeout=timeout)
        with client, pytest.raises(error, match=f'HTTP status {status} No') as caught:
            call('k', 'x' * 20_000_000)
    assert caught.value.attempts == 1
    assert not caught.value.maybe_executed


def test_401_is_an_auth_error(client_of):
    """It says what the server asks for."""
    ask = [('WWW-Authenticate', 'Basic realm="kv"')]
    with (
        HttpServer(lambda handler, _: send(handler, 401, b'no', ask)) as server,
        client_of(server) as client,
        pytest.raises(errors.AuthError, match='Basic'),
    ):
        client.ping()


@pytest.mark.parametrize('status', [200, 401, 500])
@pytest.mark.parametrize(
    'how', [{'headers': {'Authorization': 'Bearer SECRET'}}, {'user': ':SECRET@'}]
)
def test_a_server_that_repeats_credentials(how, status, client_of, caplog):
    """They are in no text, nor in the body that the error has."""
    body = b'<html>Bearer SECRET is unknown, SECRET too</html>'
    with (
        HttpServer(
            lambda handler, _: send(handler, status, body, [('X-Seen', 'SECRET')])
        ) as server,
        client_of(server, **how) as client,
        pytest.raises(errors.ThriftClientError) as caught,
    ):
        client.ping()
    assert 'unknown' in str(caught.value)
    seen = f'{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}'
    assert 'SECRET' not in seen


def basic(credentials):
    """The value of a header with credentials."""
    return f'Basic {base64.b64encode(credentials.encode()).decode()}'


#: What a client has, and in which form the server repeats the secret of it.
REPEATED = {
    'a cut token': ({'headers': {'Authorization': f'Bearer {"SECRET." * 500}'}}, 'SECRET.' * 500),
    'a cut password': ({'user': f'u:{"SECRET." * 500}@'}, 'SECRET.' * 500),
    'a query': ({'path': '/kv?access_token=SECRET1'}, '/kv?access_token=SECRET1'),
    'an escaped query': ({'path': '/kv?jwt=SECRET%2F1'}, 'SECRET/1'),
    'a cookie': ({'headers': {'Cookie': 'a=b; session=SECRET1'}}, 'SECRET1'),
    'a quoted token': ({'headers': {'Authorization': 'Token token="SECRET1"'}}, 'SECRET1'),
    'a decoded password': ({'headers': {'Authorization': basic('me:SECRET1')}}, 'SECRET1'),
    'a URL': ({'user': 'me:SECRET%2F1@'}, 'SECRET%2F1'),
    'JSON': ({'user': 'me:SECRET%221@'}, json.dumps('SECRET"1')),
    'HTML': ({'user': 'me:SECRET%261@'}, 'SECRET&amp;1'),
    'another case': ({'headers': {'Authorization': 'Bearer sEcReT1'}}, 'SECRET1'),
}


@pytest.mark.parametrize('status', [200, 302, 401, 403])
@pytest.mark.parametrize(('how', 'text'), REPEATED.values(), ids=REPEATED.keys())
def test_a_server_that_repeats_a_secret_in_another_form(how, text, status, client_of):
    """Cut off, decoded or escaped: neither the text of the error nor its body has a part of it."""
    to = [('Location', f'https://elsewhere.example/{text[:100]}')] if status == 302 else []
    with (
        HttpServer(lambda handler, _: send(handler, status, f'no {text}'.encode(), to)) as server,
        client_of(server, **how) as client,
        pytest.raises(errors.ThriftClientError, match=r'no .*\*\*\*') as caught,
    ):
        client.ping()
    assert 'SECRET' not in f'{caught.value} {caught.value!r} {vars(caught.value)}'


def test_a_redirect_says_where_to(client_of):
    """It isn't followed: a POST may not be repeated elsewhere unasked."""
    to = [('Location', 'https://elsewhere.example/')]
    with (
        HttpServer(lambda handler, _: send(handler, 307, b'', to)) as server,
        client_of(server) as client,
        pytest.raises(errors.HttpStatusError, match='elsewhere'),
    ):
        client.ping()


HEAD = b'HTTP/1.1 200 OK\r\n'
BROKEN = [
    (b'', errors.ConnectionLost),
    (b'HTTP/1.1', errors.ConnectionLost),
    (HEAD + b'Content-Length: 100\r\n\r\nshort', errors.ConnectionLost),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\nab', errors.ConnectionLost),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n', errors.DecodeError),
    (HEAD + b'Content-Length: -1\r\n\r\n', errors.DecodeError),
    (HEAD + b'Content-Length: 99999999999\r\n\r\n', errors.MessageTooLarge),
    (HEAD + b'Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx', errors.DecodeError),
    (HEAD + b'Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx', errors.DecodeError),
    (HEAD + b'Content-Length: 0\r\n\r\n', errors.DecodeError),
    (HEAD + b'Content-Length: 5\r\n\r\nhello', errors.DecodeError),
    (HEAD + b'X: ' + b'x' * 1_000_000, errors.DecodeError),
]


@pytest.mark.parametrize(('answer', 'error'), BROKEN)
def test_a_broken_response_is_named(answer, error, client_of):
    """The connection is closed, and the next call is right."""
    with HttpServer() as server, client_of(server) as client:
        fine, server.answer = server.answer, raw(answer)
        with pytest.raises(error):
            client.ping()
        server.answer = fine
        assert client.ping() == 'pong'


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('chunked', [False, True])
def test_a_large_body_ends_at_the_limit(compressed, chunked, client_of):
    """Whether its length is claimed or not, and whatever it inflates to."""
    body = b'\0' * 10_000_000
    body = gzip.compress(body) if compressed else body

    def answer(handler, _):
        coding = b'Content-Encoding: gzip\r\n' if compressed else b''
        if chunked:
            length = b'Transfer-Encoding: chunked\r\n\r\n%x\r\n' % len(body)
        else:
            length = b'Content-Length: %d\r\n\r\n' % len(body)
        try:
            handler.wfile.write(HEAD + coding + length + body)
        except OSError:
            pass  # the client has had enough

    with (
        HttpServer(answer) as server,
        client_of(server, max_message_size=100_000) as client,
        pytest.raises(errors.MessageTooLarge),
    ):
        client.ping()


def test_dripped_headers_do_not_stretch_a_call(client_of):
    """The deadline is that of the whole call."""

    def answer(handler, _):
        try:
            for byte in HEAD * 100:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass  # the client has had enough

    with HttpServer(answer) as server, client_of(server) as client:
        began = time.monotonic()
        with pytest.raises(errors.CallTimeout):
            client.with_options(timeout=150).ping()
        assert time.monotonic() - began < 0.8


@pytest.mark.parametrize('answers', [False, True])
def test_a_oneway_call_waits_for_no_answer(answers, face):
    """A server that never answers delays nothing, and an answer is not taken for another call's."""
    fired = []

    def answer(handler, body):
        if b'fire' in body:
            fired.append(body)
            if answers:
                send(handler, 200, b'')
            else:
                release.wait(5)
                handler.close_connection = True
        else:
            send(handler, 200, echo(body))

    def echo(body):
        from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
        from thrift.transport.TTransport import TMemoryBuffer

        factory = TBinaryProtocolFactory()
        given, made = TMemoryBuffer(body), TMemoryBuffer()
        rich_service.Processor(Rich()).process(
            factory.getProtocol(given), factory.getProtocol(made)
        )
        return made.getvalue()

    release = threading.Event()
    with HttpServer(answer) as server:
        url = f'http://127.0.0.1:{server.port}/'
        with face.client(rich_service, url, timeout=5000) as client:
            began = time.monotonic()
            for i in range(3):
                client.fire(f'token {i}')
                assert client.echo(f'text {i}') == f'text {i}'
            assert time.monotonic() - began < 2
            while len(fired) < 3:  # the last one may be on its way, on another connection
                assert time.monotonic() - began < 5
                time.sleep(0.001)
        release.set()


class Slow(Rich):
    """Answers oneway calls late."""

    def fire(self, token):
        """Take a while."""
        time.sleep(0.1)


@pytest.mark.parametrize('kind', ['client', 'hash pool', 'fan-out', 'balanced pool'])
@pytest.mark.parametrize('connection', ['keep-alive', 'close'])
def test_a_oneway_call_gives_its_permit_to_the_next(connection, kind, face):
    """With max_connections, the next call waits for the answer, and no longer."""
    with HttpServer(headers=[('Connection', connection)]) as server:
        server.processor = rich_service.Processor(Slow())
        options = {'max_connections': 1, 'service': rich_service, 'method': 'echo'}
        client, call = calling(face, kind, f'http://127.0.0.1:{server.port}/', **options)
        with client:
            for _ in range(2):
                client.fire('token')
                began = time.monotonic()
                assert call('text') == 'text'
                assert time.monotonic() - began < 2


@pytest.mark.parametrize('user', ['', 'me:secret@'])
def test_a_proxy_of_the_environment_is_used(monkeypatch, user, face, client_of):
    """An http proxy gets whole URLs; hosts in no_proxy are called directly."""
    with HttpServer() as proxy:
        monkeypatch.setenv('http_proxy', f'http://{user}127.0.0.1:{proxy.port}')
        monkeypatch.setenv('no_proxy', 'direct.example')
        with face.client(test_service, 'http://kv.example/path') as client:
            assert client.ping() == 'pong'
        path, headers = proxy.requests[0]
        assert path == 'http://kv.example/path'
        assert headers['Host'] == 'kv.example'
        assert ('Proxy-Authorization' in headers) == bool(user)
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        with client_of(proxy, '/here') as client:
            client.ping()
        assert proxy.requests[1][0] == '/here'


def pump(source, sink):
    """Copy bytes until either end is closed."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other thread was quicker


def tunnel_to(server, status):
    """Open a tunnel to a server, with any status that begins with 2: RFC 9110, section 9.3.6."""

    def tunnel(handler):
        if not status.startswith(b'HTTP/1.1 2'):
            handler.wfile.write(status)
            handler.close_connection = True
            return
        with socket.create_connection(('127.0.0.1', server.port)) as onward:
            handler.wfile.write(status)
            back = threading.Thread(target=pump, args=(onward, handler.connection))
            back.start()
            pump(handler.connection, onward)
            back.join()
        handler.close_connection = True

    return tunnel


@pytest.fixture
def through_a_proxy(monkeypatch, certificates, face):
    """Make a client in TLS behind a proxy that answers CONNECT with a status."""

    @contextmanager
    def make(status):
        with (
            HttpServer(context=certificates.server()) as server,
            HttpServer(tunnel=tunnel_to(server, status)) as proxy,
        ):
            monkeypatch.setenv('https_proxy', f'http://127.0.0.1:{proxy.port}')
            monkeypatch.delenv('no_proxy', raising=False)
            url = f'https://localhost:{server.port}/kv'
            context = certificates.client()
            with face.client(test_service, url, ssl=context, timeout=5000) as client:
                yield client, server
            assert proxy.requests[0][0] == f'localhost:{server.port}'
            assert proxy.opened == 1

    return make


@pytest.mark.parametrize('status', ['200 Connection established', '204 No Content'])
def test_https_goes_through_a_tunnel(through_a_proxy, status):
    """TLS is with the server, by its own name; the tunnel is kept."""
    with through_a_proxy(f'HTTP/1.1 {status}\r\n\r\n'.encode()) as (client, server):
        assert [client.ping() for _ in range(2)] == ['pong', 'pong']
        assert server.requests[0][0] == '/kv'


@pytest.mark.parametrize(
    ('answer', 'error', 'said'),
    [
        (b'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', errors.AuthError, '407'),
        (b'HTTP/1.1 502 Bad Gateway\r\n\r\n', errors.ConnectError, '502'),
        (b'garbage\r\n\r\n', errors.ConnectError, 'localhost'),
        (b'', errors.ConnectError, 'localhost'),
    ],
    ids=['407', '502', 'garbage', 'closed'],
)
def test_a_proxy_that_opens_no_tunnel(through_a_proxy, answer, error, said):
    """The error has the status or the server that could not be reached."""
    with (
        through_a_proxy(answer) as (client, _),
        pytest.raises(error, match=said),
    ):
        client.ping()
