"""Generated code of every kind."""

import importlib
import sys

import pytest

KINDS = ('default', 'slots', 'dynamic', 'enum')


@pytest.fixture(scope='session')
def gen_variants(pytestconfig):
    """Let `variants`, the same IDL as every kind of Python code, be imported."""
    folder = str(pytestconfig.rootpath / 'test' / 'gen-variants')
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


@pytest.fixture(scope='session', params=KINDS)
def kind(request, gen_variants):
    """The package of one kind of generated code."""
    return importlib.import_module(f'variants.{request.param}')
