"""The version, the changelog, and pages that repeat what other files say."""

import json
import re
import tomllib

import thrift_client
from docs.blocks import DOCS, ROOT

CHANGELOG = (ROOT / 'CHANGELOG.md').read_text()
RELEASE = re.compile(r'\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d')


def section(text, heading):
    """What stands below a heading of the second level."""
    pattern = rf'^## {re.escape(heading)}$\n(.*?)(?=^## |\Z)'
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].strip()


def test_the_changelog_tells_of_the_version():
    """A release has a dated section and comes first; a development version has *Unreleased*."""
    headings = re.findall(r'^## (.*)$', CHANGELOG, re.MULTILINE)
    released = [RELEASE.fullmatch(heading) for heading in headings if heading != '[Unreleased]']
    assert all(released), headings
    version = thrift_client.__version__
    if '.dev' in version:
        assert headings[0] == '[Unreleased]'
        assert section(CHANGELOG, '[Unreleased]')
        assert version.partition('.dev')[0] not in [match[1] for match in released]
    else:
        assert released[0][1] == version
        assert section(CHANGELOG, released[0][0])


def test_releases_of_the_changelog_are_in_order():
    """The newest release comes first, and none is there twice."""
    found = re.findall(r'^## \[(\d+)\.(\d+)\.(\d+)\]', CHANGELOG, re.MULTILINE)
    versions = [tuple(map(int, numbers)) for numbers in found]
    assert versions == sorted(set(versions), reverse=True)


def test_the_version_is_written_in_one_place():
    """The build takes it from the package."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    assert 'version' not in project['project']
    assert project['tool']['setuptools']['dynamic']['version'] == {
        'attr': 'thrift_client._version.__version__'
    }


def test_the_extras_of_the_pages_are_those_of_the_package():
    """The support page has a row for each extra with the packages that it brings."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    extras = {
        name: {re.split('[><=]', package)[0] for package in packages}
        for name, packages in project['optional-dependencies'].items()
        if name != 'all'
    }
    table = section((DOCS / 'support.md').read_text(), 'What needs what')
    rows = re.findall(r'^\| `(\w+)` \| (.*?) \|', table, re.MULTILINE)
    assert {name: set(re.findall('`(.*?)`', brings)) for name, brings in rows} == extras
    everything = project['optional-dependencies']['all'][0]
    assert set(re.search(r'\[(.*)\]', everything)[1].split(',')) == set(extras)


def test_pythons_of_the_support_page_are_those_of_the_package():
    """The classifiers, `requires-python` and the table agree."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    classified = re.findall(r'Python :: (3\.\d+)', ' '.join(project['classifiers']))
    row = re.search(r'^\| CPython \| (.*?) \|', (DOCS / 'support.md').read_text(), re.MULTILINE)
    assert row[1].split(', ') == classified
    assert project['requires-python'] == f'>={classified[0]}'


def test_the_comparison_tells_of_each_row_that_misses_its_bar():
    """The section about what isn't reached has the measured figure and the floor of each."""
    text = section((DOCS / 'comparison.md').read_text(), "What the figures don't reach")
    rows = json.loads((ROOT / 'bench' / 'results.json').read_text())['rows']
    missed = [row for row in rows if row['verdict'] == 'missed']
    assert len(missed) == len(re.findall('^- ', text, re.MULTILINE))
    for row in missed:
        assert f'{row["measured"]["median"]:.2f} ' in text, row['work']
        assert f'{row["floor"]:.2f} ' in text, row['work']
