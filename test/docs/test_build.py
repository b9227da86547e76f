"""The documentation builds without warnings, and its tables match the code."""

import html
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import thrift_client
from docs.blocks import DOCS, pages
from thrift_client import errors, events
from thrift_client.observe.prometheus import ROWS
from thrift_client.options import OPTIONS

pytest.importorskip('furo')
pytest.importorskip('myst_parser')
pytest.importorskip('sphinx_copybutton')

# A whole build takes long where much else runs.
pytestmark = pytest.mark.timeout(180)

LINK = re.compile(r'(?:href|src)="([^"#]*)(?:#([^"]*))?"')
ID = re.compile(r'\sid="([^"]*)"')


@pytest.mark.long
def test_links_have_targets(built):
    """Each link and picture of each page leads to an existing file and heading."""
    ids = {path.resolve(): set(ID.findall(path.read_text())) for path in built.values()}
    broken = []
    for name, path in built.items():
        for target, place in LINK.findall(path.read_text()):
            if '://' in target or target.startswith(('mailto:', 'data:')):
                continue
            found = (path.parent / html.unescape(target).partition('?')[0]).resolve()
            found = path.resolve() if not target else found
            if not found.is_file() or (place and place not in ids.get(found, {place})):
                broken.append((name, target, place))
    assert not broken


@pytest.mark.long
@pytest.mark.parametrize(
    ('page', 'names'),
    [
        ('reference/options.html', list(OPTIONS)),
        ('reference/errors.html', errors.__all__),
        ('reference/events.html', [name for name in events.__all__ if name != 'Event']),
        ('reference/metrics.html', [row.name for row in ROWS.values()]),
    ],
)
def test_tables_match_the_code(built, page, names):
    """Each option, error, event and metric has its row."""
    rows = built[page].read_text().split('<tr')
    assert names
    for name in names:
        assert any(re.search(rf'>{name}(_total)?<', row) for row in rows), name


@pytest.mark.long
def test_every_page_is_reached(built):
    """The index leads to every page."""
    start = built['index.html'].resolve()
    seen, left = set(), [start]
    while left:
        page = left.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        targets = (target for target, _ in LINK.findall(page.read_text()) if '://' not in target)
        left += [(page.parent / each).resolve() for each in targets if each.endswith('.html')]
    assert {path.resolve() for path in built.values()} <= seen


def test_pictures_match_their_script(tmp_path):
    """The committed pictures are what draw.py draws."""
    pictures = DOCS / 'pictures'
    script = tmp_path / 'draw.py'
    script.write_text((pictures / 'draw.py').read_text())
    subprocess.run([sys.executable, script], check=True, timeout=20)
    drawn = {path.name: path.read_text() for path in tmp_path.glob('*.svg')}
    assert drawn == {path.name: path.read_text() for path in Path(pictures).glob('*.svg')}


POOL_ROW = re.compile(r'^\| `(\w+)` \| (.*?) \| `(.*?)` \|', re.MULTILINE)
POOLS = {
    'all': (thrift_client.HashClient, thrift_client.BalancedClient, thrift_client.ReplicatedClient),
    'hash pools': (thrift_client.HashClient, thrift_client.ThreadedHashClient),
    '`BalancedClient`': (thrift_client.BalancedClient,),
}


def test_the_table_of_pool_options_matches_the_code():
    """Each option belongs to the pools of its row and has the default of the row."""
    rows = POOL_ROW.findall((DOCS / 'reference' / 'options.md').read_text())
    assert len(rows) >= 6
    for name, owners, default in rows:
        for pool in POOLS[owners]:
            parameter = inspect.signature(pool.__init__).parameters[name]
            assert repr(parameter.default) == default, name


def test_generated_tables_and_plots_are_shown():
    """Each is on a page."""
    text = ''.join(path.read_text() for path in pages().values())
    shown = re.findall(r'\{(?:written|plot)\} (\S+)', text)
    made = [*DOCS.glob('generated/*.md'), *DOCS.glob('plots/*.svg')]
    hidden = [path.name for path in made if not any(path.match(pattern) for pattern in shown)]
    assert not hidden
