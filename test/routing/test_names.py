"""The public names of thrift_client.routing, and what importing it loads."""

import json
import os
import subprocess
import sys

import pytest

from thrift_client import routing

LOADED = """
import json, sys
import thrift
before = set(sys.modules)
from thrift_client import routing
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_public_names_are_sorted_and_there():
    """Each is found in its module, and dir() knows it before it was used."""
    assert routing.__all__ == sorted(routing.__all__)
    for name in routing.__all__:
        assert getattr(routing, name).__name__ == name
        assert name in dir(routing)


def test_an_unknown_name_is_no_attribute():
    """An unknown name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match=r"'thrift_client.routing' has no attribute 'nothing'"):
        routing.nothing  # noqa: B018  (looking it up is the test)


def test_importing_it_loads_nothing_that_hashes():
    """A process whose clients hash no keys doesn't load hashlib and OpenSSL for them."""
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, '-c', LOADED],
        env={**os.environ, 'PYTHONPATH': path},
        check=True,
        capture_output=True,
        timeout=30,
    )

    loaded = set(json.loads(run.stdout))
    assert 'thrift_client.routing' in loaded
    assert not loaded & {'hashlib', 'difflib', 'uuid', 'thrift_client.routing.keys'}
