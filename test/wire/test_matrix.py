"""Every kind of server with everything that it can speak; `make matrix` runs the whole product."""

import pytest

from rich_if import rich_service
from ways import FEW_SERVED, SERVED
from wire.calls import ASKED, CALLS, FEW, ONEWAY, check_all, check_few

EVERY_SERVED = [
    pytest.param(served, id=str(served), marks=() if served in FEW_SERVED else pytest.mark.long)
    for served in SERVED
]


def options_of(served, certificates):
    """Return the options of a client that fit a server."""
    tls = {'ssl': certificates.client()} if served.tls else {}
    return {**served.options, 'timeout': 10000, **tls}


@pytest.mark.parametrize('server_of', EVERY_SERVED, indirect=True)
def test_every_method(server_of, certificates, face):
    """A client and every fan-out get what a local call would.

    All methods are called with one kind of server and with HTTP, and few of them in JSON, which is
    slow, over more than one transport.
    """
    served, address = server_of
    options = options_of(served, certificates)
    thorough = (
        served.server in {'threaded', 'http'}
        and not served.tls
        and (served.transport == 'buffered' or served.protocol != 'json')
    )
    with face.client(rich_service, address, **options) as client:
        (check_all if thorough else check_few)(client.call)
    for fan_out in face.fan_outs:
        with fan_out(rich_service, servers=[address], **options) as pool:
            check_few(lambda name, *args, pool=pool: pool.call(name, *args)[0].value())


def test_the_calls_are_all_there():
    """The table calls each method of the service, and the short one is a part of it."""
    methods = {name for name in dir(rich_service.Iface) if not name.startswith('_')}
    assert {name for name, *_ in CALLS} | {*ONEWAY, ASKED} == methods
    assert all(call in CALLS for call in FEW)
