"""Responses and errors in pickles, as a pool of processes sends them."""

import pickle

import pytest
from thrift.Thrift import TApplicationException

from handlers import Rich
from on_loop_pools import made
from rich_if import rich_service
from rich_if.ttypes import NotFound, Refused
from thrift_client import HashClient, ThriftExceptionResponse, ThriftResponse, errors
from thrift_client.aio import AsyncHashClient
from thrift_client.testing import serve
from ways import FACES


@pytest.fixture(scope='module')
def address():
    """A server of rich_service over HTTP, whose replies have headers."""
    with serve(rich_service, Rich(), 'http') as server:
        yield f'http://{server.address}/'


def said(exception):
    """What an exception says, apart from the server's address."""
    return getattr(exception, 'reason', str(exception))


@pytest.mark.parametrize('face', FACES, ids=lambda face: face.name)
def test_responses_come_back_with_the_servers_name(face, address):
    """Values, declared exceptions, a server's own, and errors; times and attempts, too."""
    with face.fan_out(rich_service, servers=[address]) as pool:
        responses = [
            pool.find('key', False)[0],
            pool.find('key', True)[0],
            pool.find('missing', False)[0],
            pool.fail('on purpose')[0],
            pool.with_options(timeout=1).sleep_ms(200)[0],
        ]
        kinds = [type(None), Refused, NotFound, TApplicationException, errors.CallTimeout]
        for response, kind in zip(responses, kinds, strict=True):
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                again = pickle.loads(pickle.dumps(response, protocol))
                assert type(again) is type(response)
                assert isinstance(response, ThriftResponse)
                assert isinstance(again, ThriftExceptionResponse) is again.is_error()
                assert again.server == response.server.name
                assert (again.elapsed, again.attempts) == (response.elapsed, response.attempts)
                assert again.headers == response.headers
                assert type(again.exception) is kind
                assert said(again.exception) == said(response.exception)
                assert again.server in repr(again)
        assert pickle.loads(pickle.dumps(responses[0])).value() == 'found key'
        assert pickle.loads(pickle.dumps(responses[1])).exception == responses[1].exception
        with pytest.raises(Refused):
            pickle.loads(pickle.dumps(responses[1])).value()
        failed = pickle.loads(pickle.dumps(responses[3])).exception
        assert failed.type == responses[3].exception.type
        assert failed.server == responses[3].server.name
        assert failed.maybe_executed


@pytest.mark.parametrize('kind', [HashClient, AsyncHashClient], ids=lambda kind: kind.__name__)
def test_split_responses_keep_their_shares(kind, closing):
    """Those of a call that succeeded, and the keys of one that failed."""
    with serve(rich_service, Rich()) as one, serve(rich_service, Rich()) as two:
        addresses = [one.address, two.address]
        pool = closing(made(kind, rich_service, servers=addresses))
        pool.lookup.set_split('ids')
        good = pool.lookup([0, 1, 2])
        two.close()
        bad = pool.lookup([0, 1, 2])
    for response in (good, bad):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(response, protocol))
            assert type(again) is type(response)
            assert repr(again.shares) == repr(response.shares)
            assert [share.server for share in again.shares] == addresses
            for share, before in zip(again.shares, response.shares, strict=True):
                assert (share.keys, share.positions) == (before.keys, before.positions)
                assert said(share.response.exception) == said(before.response.exception)
    assert pickle.loads(pickle.dumps(good)).value() == good.value()
    assert pickle.loads(pickle.dumps(bad)).keys == bad.keys == [1]
