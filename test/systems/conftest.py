"""Both kinds of clients for tests of what they share."""

import pytest

from ways import FACES


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request):
    """Run a test with the blocking clients and with those of asyncio."""
    return request.param
