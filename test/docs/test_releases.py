"""The version, the changelog, and pages that repeat what other files say."""

import json
import re
import tomllib

import yaml

import thrift_client
from docs.blocks import DOCS, ROOT

CHANGELOG = (ROOT / 'CHANGELOG.md').read_text()
RELEASE = re.compile(r'\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d')


def section(text, heading):
    """The text below a heading of the second level."""
    pattern = rf'^## {re.escape(heading)}$\n(.*?)(?=^## |\Z)'
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].strip()


def test_the_changelog_has_the_version():
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


def project():
    """The table of pyproject.toml that describes the package."""
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def test_the_extras_of_the_pages_are_those_of_the_package():
    """The support page has a row for each extra with the packages that it brings."""
    extras = {
        name: {re.split('[><=]', package)[0] for package in packages}
        for name, packages in project()['optional-dependencies'].items()
        if name != 'all'
    }
    table = section((DOCS / 'support.md').read_text(), 'What needs what')
    rows = re.findall(r'^\| `(\w+)` \| (.*?) \|', table, re.MULTILINE)
    brought = {name: set(re.findall('`(.*?)`', brings)) for name, brings in rows}
    assert brought.pop('all') == {'kerberos'}  # the one that it leaves out: it needs krb5's headers
    assert brought == extras
    everything = project()['optional-dependencies']['all'][0]
    assert set(re.search(r'\[(.*)\]', everything)[1].split(',')) == extras.keys() - {'kerberos'}


def test_the_readme_names_every_extra():
    """The list at the top of the README is that of the package."""
    listed = re.search(r'The extras are (.*?)\(', (ROOT / 'README.md').read_text(), re.DOTALL)
    assert set(re.findall(r'`(\w+)`', listed[1])) == project()['optional-dependencies'].keys()


def test_every_extra_that_a_text_names_exists():
    """Errors, docstrings and pages tell people to install what there is."""
    pages = [ROOT / 'README.md', *DOCS.rglob('*.md'), *(ROOT / 'thrift_client').rglob('*.py')]
    named = [
        (path, extra)
        for path in pages
        for extras in re.findall(r'thrift_client\[([a-z,]+)\]', path.read_text())
        for extra in extras.split(',')
    ]
    assert named
    unknown = [pair for pair in named if pair[1] not in project()['optional-dependencies']]
    assert not unknown


def test_pythons_of_the_support_page_are_those_of_the_package():
    """The classifiers, `requires-python`, the table, the workflow and nox agree."""
    classified = re.findall(r'Python :: (3\.\d+)', ' '.join(project()['classifiers']))
    row = re.search(r'^\| CPython \| (.*?) \|', (DOCS / 'support.md').read_text(), re.MULTILINE)
    assert row[1].split(', ') == classified
    assert project()['requires-python'] == f'>={classified[0]}'
    workflow = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text())
    matrix = workflow['jobs']['tests']['strategy']['matrix']
    assert matrix['python'] == classified
    assert {each['python'] for each in matrix['include']} <= set(classified)
    assert f'PYTHONS = {classified}' in (ROOT / 'noxfile.py').read_text()


def test_workflows_and_hooks_run_what_a_developer_runs():
    """Each job and each hook is a target of the Makefile, so that all run the same tools."""
    targets = set(re.findall(r'^([a-z-]+):.*## ', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    workflow = yaml.safe_load((ROOT / '.github' / 'workflows' / 'ci.yml').read_text())
    for name, job in workflow['jobs'].items():
        runs = [step['run'] for step in job['steps'] if step.get('run', '').startswith('make ')]
        assert len(runs) == 1, name
        assert runs[0].split()[1] in targets, runs
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    assert [hook['entry'] for hook in hooks] == ['make lint', 'make types']


def test_the_page_about_performance_has_each_missed_target():
    """The section about missed targets has the measured figure and the floor of each."""
    text = section((DOCS / 'performance.md').read_text(), 'Targets that are missed')
    rows = json.loads((ROOT / 'bench' / 'results.json').read_text())['rows']
    missed = [row for row in rows if row['reached'] == 'missed']
    assert len(missed) == len(re.findall('^- ', text, re.MULTILINE))
    for row in missed:
        assert f'{row["measured"]["median"]:.2f} ' in text, row['work']
        if row['floor'] is not None:
            assert f'{row["floor"]:.2f} ' in text, row['work']
