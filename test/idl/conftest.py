"""IDLs that are compiled, once for all tests."""

from functools import cache

import pytest

from idl.oracle import CORPUS, FILES, Generated
from thrift_client import load


@pytest.fixture(scope='session')
def generated(tmp_path_factory):
    """gen-py of a file of the corpus."""
    folder = tmp_path_factory.mktemp('gen-py')
    return cache(lambda file: Generated(file, folder))


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def file(request):
    """Each file of the corpus that isn't only included."""
    return request.param


@pytest.fixture
def everything():
    """The largest file of the corpus, loaded."""
    return load(CORPUS / 'everything.thrift')


@pytest.fixture
def write(tmp_path):
    """Write an IDL into a file, and return its path."""

    def write_file(text, name='shop.thrift'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file
