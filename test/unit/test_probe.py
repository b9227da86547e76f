"""What `probe` sends, and what it takes for an answer."""

import pytest

from thrift_client.cli.commands import probe
from thrift_client.cli.commands.wires import WIRES, WireFormat, answered, request


@pytest.mark.parametrize('wire', WIRES, ids='/'.join)
def test_a_request_is_not_taken_for_a_reply(wire):
    """A request that is sent back, or a part of it, is not a reply on any wire."""
    for other in WIRES:
        data = request(other, 'h:1', '/', None)
        assert not answered(wire, data)
    assert not any(answered(WireFormat(*wire), data[:n]) for n in range(len(data)))


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (b'\x15\x03\x01\x00\x02\x02\x46', 'TLS'),
        (b'HTTP/1.0 404', 'HTTP'),
        (b'<HTML>', 'HTTP'),
        (b'\x4a\x00\x00\x00\x0a8.0.36', 'MySQL'),
        (b'', None),
        (b'\xff\xfe', None),
    ],
)
def test_first_bytes_are_recognized(data, kind):
    """A few bytes are enough, and no bytes are not an error."""
    assert probe.kind_of(data) == kind
    assert probe.described(data)
