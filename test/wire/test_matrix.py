"""Every way to speak, against each of Apache's servers that speaks it, with every method."""

import pytest

from rich_if import rich_service
from wire.calls import ASKED, CALLS, ONEWAY, check_all
from wire.ways import WAYS


def options_of(way, certificates):
    """Say what a client has to be told, as a user would."""
    return {
        **way.options,
        'timeout': 10000,
        **({'ssl': certificates.client()} if way.tls else {}),
    }


@pytest.mark.parametrize('way', WAYS, ids=str)
def test_every_method(way, serve_way, certificates, face):
    """A client and every fan-out get what a local call would, with their options set."""
    server = serve_way(way)
    options = options_of(way, certificates)
    with face.client(rich_service, server.address, **options) as client:
        check_all(client.call)
    for fan_out in face.fan_outs:
        with fan_out(rich_service, servers=[server.address], **options) as pool:
            check_all(lambda name, *args, pool=pool: pool.call(name, *args)[0].value())


def test_the_calls_are_all_there():
    """The table calls each method of the service."""
    from thrift_client.core.service import service_of

    called = {name for name, _, _ in CALLS}
    assert called | {*ONEWAY, ASKED} == set(service_of(rich_service).methods)
