"""Code that was generated for frameworks: zope.interface's is taken, the others' refused."""

import importlib
import inspect
import pydoc
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ground.test_kinds import Handler, Parts
from on_loop import ASYNCIO, BLOCKING
from thrift_client import SimpleClient, aio
from thrift_client.testing import serve


@pytest.fixture(params=[BLOCKING, ASYNCIO], ids=lambda face: face.name)
def face(request):
    """Run a test with the blocking clients and with those of asyncio."""
    return request.param


@pytest.fixture(scope='module')
def zope(gen_variants):
    """The modules for zope.interface."""
    pytest.importorskip('zope.interface')
    return Parts(importlib.import_module('variants.zope'))


@pytest.fixture(scope='module')
def address(gen_variants):
    """Run a server of plain code."""
    plain = Parts(importlib.import_module('variants.default'))
    with serve(plain.service, Handler(plain)) as server:
        yield server.address


def test_code_for_zope_is_called(zope, face, address):
    """Clients and pools get values, exceptions, void and oneway calls of Zope code."""
    with face.client(zope.service, address, timeout=5000) as client:
        assert int(client.version()) >= 0
        with pytest.raises(zope.types.Loose):
            client.find('loose')
        with pytest.raises(zope.base.Rigid):
            client.require('2')
        assert client.nothing() is None
        assert client.fire([zope.types.Small(1, 'x')], 7) is None
        assert client.defaults('a') == 'a 2 4 [1, 2]'
    with face.hash_pool(zope.service, servers=[address]) as pool:
        assert pool.find('x').value() == 'x'
    with face.fan_out(zope.service, servers=[address]) as pool:
        assert pool.find('x')[0].value() == 'x'


def test_code_for_zope_has_its_signatures(zope):
    """All methods have their signatures, inherited ones too."""
    client = SimpleClient(zope.service)
    assert str(inspect.signature(client.find)) == '(key)'
    assert hasattr(client, 'version')
    assert not hasattr(type(client), 'send_find')
    assert 'find(self, key)' in pydoc.render_doc(type(client), renderer=pydoc.plaintext)


@pytest.mark.parametrize('kind', [SimpleClient, aio.AsyncSimpleClient, aio.AsyncHashClient])
@pytest.mark.parametrize('framework', ['twisted', 'tornado'])
def test_code_for_other_frameworks_is_refused(framework, kind, gen_variants, monkeypatch):
    """The TypeError says what is expected."""
    if framework == 'tornado':  # its own code is not needed to see what was generated for it
        tornado = ModuleType('tornado')
        tornado.gen = SimpleNamespace(engine=lambda f: f, coroutine=lambda f: f)
        tornado.concurrent = None
        monkeypatch.setitem(sys.modules, 'tornado', tornado)
    service = importlib.import_module(f'variants.{framework}.base.of_variant.parent')
    with pytest.raises(TypeError, match='without the options twisted and tornado'):
        kind(service)
