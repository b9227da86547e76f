"""What CONTRIBUTING.md says: a new router, balancer, source or transport is a module and a row."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'thrift_client'

SOURCE = """
from thrift_client.discovery.static import StaticSource

def create(parts, options):
    return StaticSource([parts.netloc], **options)
"""

#: The new module and its text, the registry, a row before the new one, the new one, and an
#: expression that is true if all uses know it.
NEW = {
    'router': (
        'routing/other.py',
        (PACKAGE / 'routing' / 'modulo.py').read_text().replace("'modulo'", "'other'"),
        'routing/named.py',
        "    'rendezvous': ('rendezvous', 'Rendezvous'),\n",
        "    'other': ('other', 'Modulo'),\n",
        """thrift_client.HashClient(test_service, routing='other').close() is None
        and {'other'} < set(parameters['routing'].type.choices)
        and 'other' in parameters['routing'].help""",
    ),
    'balancer': (
        'routing/other.py',
        'from thrift_client.routing.balance import First as Other',
        'routing/named.py',
        "    'first': ('balance', 'First'),\n",
        "    'other': ('other', 'Other'),\n",
        """thrift_client.BalancedClient(test_service, balance='other').close() is None
        and {'other'} < set(parameters['balance'].type.choices)
        and 'other' in parameters['balance'].help""",
    ),
    'source': (
        'discovery/other.py',
        SOURCE,
        'discovery/urls.py',
        "    'file': (FileSource, _file),\n",
        "    'other': (other.StaticSource, other.create),\n",
        """'127.0.0.1:9090' in repr(discovery.source('other://127.0.0.1:9090'))""",
    ),
    'transport': (
        'core/transports/other.py',
        (PACKAGE / 'core' / 'transports' / 'framed.py')
        .read_text()
        .replace("Transport(\n    'framed'", "Transport(\n    'other'"),
        'options.py',
        "'zlib', 'header', 'http'",
        ", 'other'",
        """TRANSPORTS['other'].name == 'other'
        and thrift_client.SimpleClient(test_service, 'h:1', transport='other').close() is None
        and thrift_client.SimpleClient(test_service, 'thrift://h:1?transport=other').close() is None
        and 'other' in parameters['transport'].help
        and parameters['transport'].type.shell_complete(None, None, 'ot')[0].value == 'other'""",
    ),
}

#: Imports what the expressions use, and evaluates one.
TELL = """
import sys
sys.path[:0] = [{root!r}, {gen_py!r}]
import thrift_client
from test_if import test_service
from thrift_client import discovery
from thrift_client.cli import flags
from thrift_client.cli.ui import click
from thrift_client.core.transports import TRANSPORTS
command = flags.client_options(flags.pool_options(lambda **options: None))
parameters = {{each.name: each for each in click.command()(command).params}}
assert thrift_client.__file__.startswith({root!r})
print({expression})
"""


@pytest.mark.parametrize('kind', NEW)
def test_a_new_one_is_a_module_and_a_row(kind, tmp_path):
    """In a copy of the package that has both, clients, URLs and command-line flags know it."""
    module, text, registry, before, row, expression = NEW[kind]
    package = tmp_path / 'thrift_client'
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns('__pycache__'))
    (package / module).write_text(text)
    changed = (package / registry).read_text()
    assert changed.count(before) == 1
    changed = changed.replace(before, before + row)
    if kind == 'source':
        importing = 'from thrift_client.discovery import etcd, zookeeper'
        changed = changed.replace(importing, importing.replace(' etcd', ' etcd, other'))
    (package / registry).write_text(changed)
    gen_py = str(ROOT / 'test' / 'gen-py')
    script = TELL.format(root=str(tmp_path), gen_py=gen_py, expression=f'({expression})')
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ('True\n', '')
