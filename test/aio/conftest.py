"""Runs tests that are coroutines, on asyncio's own loop and on uvloop's."""

import asyncio
import gc
import inspect

import pytest

from test_if import test_service
from thrift_client import aio

try:
    from uvloop import new_event_loop as new_uvloop
except ImportError:
    new_uvloop = None

LOOPS = {'asyncio': asyncio.new_event_loop, **({'uvloop': new_uvloop} if new_uvloop else {})}
LIMIT_S = 50


def pytest_generate_tests(metafunc):
    """Run each coroutine on each loop, and whatever asks for `new_loop`."""
    if inspect.iscoroutinefunction(metafunc.function) and 'new_loop' not in metafunc.fixturenames:
        metafunc.fixturenames.append('new_loop')
    if 'new_loop' in metafunc.fixturenames:
        metafunc.parametrize('new_loop', LOOPS.values(), ids=LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a coroutine; nothing may go wrong unnoticed on its loop."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    trouble = []

    async def run():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: trouble.append(context))
        await asyncio.wait_for(function(**arguments), LIMIT_S)
        gc.collect()
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f'tasks are left: {left}'

    new_loop = pyfuncitem.callspec.params['new_loop']
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
    assert not trouble
    return True


@pytest.fixture(scope='module', autouse=True)
def small_heap():
    """Leave what was imported out of collections, which every test of this folder makes."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def client_of():
    """Make AsyncSimpleClients, of test_service unless told otherwise."""

    def make(address, service=test_service, **options):
        return aio.AsyncSimpleClient(service, address, **options)

    return make
