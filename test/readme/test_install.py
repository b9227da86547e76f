"""The sdist and the wheel: their files, and the package installed beside thrift alone."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import thrift_client

ROOT = Path(__file__).parents[2]
SOURCES = ('pyproject.toml', 'setup.py', 'MANIFEST.in', 'README.md', 'LICENSE')
PAGES = ('CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')
BUILD = """
from setuptools import build_meta
build_meta.build_sdist('dist')
build_meta.build_wheel('dist')
"""
SMOKE = """
import sys
sys.path[:] = {path} + [each for each in sys.path if 'site-packages' not in each]
import thrift_client
from test_if import test_service
from thrift_client import aio, cli, observe
from thrift_client.testing import serve

class Handler:
    def ping(self):
        return 'pong'

with serve(test_service, Handler()) as server:
    with thrift_client.SimpleClient(test_service, server.address) as client:
        print(client.ping())
    with thrift_client.ThreadedHashClient(test_service, servers=[server.address]) as pool:
        print([response.value() for response in pool.all.ping()])
for extra in (observe.Metrics, observe.Telemetry):
    try:
        extra()
    except ImportError as error:
        print(error)
print(thrift_client.__version__)
"""


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Build the sdist and the wheel from a copy, with the backend that pip calls."""
    copy = tmp_path_factory.mktemp('release')
    for name in (*SOURCES, *PAGES):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(
        ROOT / 'thrift_client',
        copy / 'thrift_client',
        ignore=shutil.ignore_patterns('__pycache__'),
    )
    subprocess.run(
        [sys.executable, '-c', BUILD], cwd=copy, check=True, capture_output=True, timeout=50
    )
    return copy / 'dist'


def files_of_the_package():
    """Each file below thrift_client/ that is in git's care."""
    found = (path for path in (ROOT / 'thrift_client').rglob('*') if path.is_file())
    return {
        path.relative_to(ROOT).as_posix() for path in found if '__pycache__' not in path.parts
    }


def test_the_wheel_has_every_file_of_the_package(built):
    """No module, stub, marker or generated service is missing, nor is the licence."""
    (wheel,) = built.glob('*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if '.dist-info/' not in name} == files_of_the_package()
    assert any(name.endswith('.dist-info/licenses/LICENSE') for name in names)


def test_the_sdist_has_what_it_takes_to_build_and_to_read_it(built):
    """The sources, the licence and the pages beside the README are there."""
    (sdist,) = built.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert names >= {*SOURCES, *PAGES, *files_of_the_package()}


def test_the_installed_package_works_beside_thrift_alone(built, tmp_path):
    """Clients call a real server, and what needs an extra says which."""
    (wheel,) = built.glob('*.whl')
    zipfile.ZipFile(wheel).extractall(tmp_path)
    for needed in ('thrift', 'six'):  # thrift itself needs six in its older releases
        spec = importlib.util.find_spec(needed)
        if spec is not None:
            origin = Path(spec.origin)
            origin = origin.parent if origin.name == '__init__.py' else origin
            (tmp_path / origin.name).symlink_to(origin)
    script = SMOKE.format(path=[str(tmp_path), str(ROOT / 'test' / 'gen-py')])
    done = subprocess.run(
        [sys.executable, '-I', '-c', script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines() == [
        'pong',
        "['pong']",
        "Metrics needs prometheus-client: pip install 'thrift_client[prometheus]'",
        "Telemetry needs opentelemetry-api: pip install 'thrift_client[opentelemetry]'",
        thrift_client.__version__,
    ]
