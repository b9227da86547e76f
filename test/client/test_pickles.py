"""Responses and errors in pickles, as a pool of processes sends them."""

import copy
import pickle

import pytest
from thrift.Thrift import TApplicationException

from handlers import Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound, Refused
from thrift_client import ThriftExceptionResponse, ThriftResponse, errors
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
    with face.client(rich_service, address) as client:
        with pytest.raises(TApplicationException) as caught:
            client.fail('on purpose')
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.server, again.message) == (client.name, caught.value.message)
        assert copy.copy(responses[0]).value() == 'found key'
