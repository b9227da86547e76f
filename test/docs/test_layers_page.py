"""The page about the layers: the files of a cold call, and the packages."""

import ast
import re
import subprocess
import sys

from docs.blocks import DOCS, ROOT
from unit import layers

PAGE = (DOCS / 'explain' / 'layers.md').read_text()
FILE = re.compile(r'`([\w/]+\.py)`')


def steps():
    """The files that each step of the cold call names, in order."""
    walk = PAGE.partition('## A cold call')[2].partition('A warm call')[0]
    return [FILE.findall(step) for step in re.split(r'^\d\. ', walk, flags=re.MULTILINE)[1:]]


def test_a_cold_call_runs_through_the_files_of_the_page():
    """No file is missing, none is named that isn't used, and the steps have the call's order."""
    done = subprocess.run(
        [sys.executable, ROOT / 'test' / 'unit' / 'cold_call.py', 'hash'],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    used = list(dict.fromkeys(re.findall(r'^(.*?):', done.stdout, re.MULTILINE)))
    named = [file for step in steps() for file in step]
    assert sorted(set(named)) == sorted(used)
    begins = [min(used.index(file) for file in step) for step in steps()]
    assert begins == sorted(begins), list(zip(begins, steps(), strict=True))


def test_each_file_of_the_page_exists():
    """The reading order and the steps name modules of the package."""
    for file in FILE.findall(PAGE):
        assert (layers.ROOT / file).is_file() or (ROOT / file).is_file(), file


def test_the_table_has_every_package():
    """Each member of the layout is in one row, from the lowest level to the highest."""
    rows = re.findall(r'^\| (`.*?) \|', PAGE, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r'`([\w/]+)`', row)]
    members = {name for level in layers.LAYERS for name in level}
    without_code = {'_version', 'typed', 'typed_aio', 'typed_options', '__main__', ''}
    assert set(named) - {'core/transports'} == members - without_code
    levels = [layers.LEVELS[name.partition('/')[0]] for name in named]
    assert levels == sorted(levels)


def test_each_package_names_its_modules():
    """Its docstring, which says in which order to read them, leaves none out."""
    for package in sorted(layers.ROOT.rglob('*/__init__.py')):
        words = re.findall(r'\w+', ast.get_docstring(ast.parse(package.read_text())))
        modules = {path.stem for path in package.parent.glob('[a-z]*.py')}
        modules |= {path.parent.name for path in package.parent.glob('*/__init__.py')}
        assert modules - {*words} == set(), package


def test_contributing_names_the_registries():
    """Each file and registry that a new feature changes is there."""
    text = (ROOT / 'CONTRIBUTING.md').read_text().partition('## What to change')[2]
    rows = re.findall(r'^\| ([a-z ]+) \| (.*) \|$', text.partition('\n## ')[0], re.MULTILINE)
    assert [name for name, _ in rows][1:] == [
        'option',
        'router or balancer',
        'source of servers',
        'transport',
        'policy',
    ]
    for name, change in rows[1:]:
        files = [
            layers.ROOT / file.removeprefix('thrift_client/')
            for file in re.findall(r'`([\w/]+(?:\.py|/))`', change)
        ]
        assert files, name
        assert [file for file in files if not file.exists()] == []
        for registry in re.findall(r'`(_?[A-Z]{2,}\w*)`', change):
            assert any(
                re.search(rf'^{registry}\b.* = ', file.read_text(), re.MULTILINE)
                for file in files
                if file.is_file()
            ), registry
