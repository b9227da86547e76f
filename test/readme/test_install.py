"""What `pip install` of a release gives: its files, and a client that needs only thrift."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import thrift_client

ROOT = Path(__file__).parents[2]
SOURCES = ('pyproject.toml', 'setup.py', 'MANIFEST.in', 'README.md', 'LICENSE')
PAGES = ('CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')
#: What setuptools adds to an sdist.
ADDED = ('PKG-INFO', 'setup.cfg')
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
def built(made_once):
    """Build the sdist and the wheel from a copy, with the backend that pip calls."""

    def build(folder):
        copy = folder / 'clone'
        left_out = ('.*', '__pycache__', '_build', 'build', 'dist', '*.egg-info')
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
        subprocess.run(
            [sys.executable, '-c', BUILD], cwd=copy, check=True, capture_output=True, timeout=50
        )

    return made_once('release', build) / 'clone' / 'dist'


@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    """Unpack the wheel to where Python finds it, as an installation does."""
    (wheel,) = built.glob('*.whl')
    folder = tmp_path_factory.mktemp('installed')
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def extras_of_the_project():
    """The packages that each extra brings."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    return project['optional-dependencies']


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


def test_the_sdist_has_what_it_takes_to_build_and_to_read_it_and_nothing_else(built):
    """Tests and documentation stay in the repository: they need its servers and generated code."""
    (sdist,) = built.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        files = [entry.name.partition('/')[2] for entry in archive.getmembers() if entry.isfile()]
    names = {name for name in files if '.egg-info/' not in name}
    assert names == {*SOURCES, *PAGES, *ADDED, *files_of_the_package()}


def test_the_wheel_offers_every_extra(installed):
    """Each extra of pyproject.toml can be asked for by its name."""
    (metadata,) = installed.glob('*.dist-info/METADATA')
    offered = re.findall(r'^Provides-Extra: (.*)$', metadata.read_text(), re.MULTILINE)
    assert sorted(offered) == sorted(extras_of_the_project())


@pytest.mark.parametrize('extra', ['cli', 'yaml'])
def test_an_extra_is_added_to_an_installed_copy_by_name(installed, extra):
    """`pip install 'thrift_client[cli]'` takes the installed copy and asks no index for it."""
    command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--no-index']
    done = subprocess.run(
        [*command, '--disable-pip-version-check', f'thrift_client[{extra}]'],
        env=os.environ | {'PYTHONPATH': str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert f'Requirement already satisfied: thrift_client[{extra}] in {installed}' in done.stdout
    for package in extras_of_the_project()[extra]:
        assert f'Requirement already satisfied: {package} in ' in done.stdout


def test_the_installed_package_works_beside_thrift_alone(installed, tmp_path):
    """Clients call a real server, and what needs an extra says which."""
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
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
