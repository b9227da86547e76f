"""Readers find what they look for: public names, words in the search, options of constructors."""

import importlib
import inspect
import json
import re
import zlib

import pytest

pytest.importorskip('furo')
pytest.importorskip('myst_parser')
pytest.importorskip('sphinx_copybutton')

pytestmark = pytest.mark.timeout(180)

#: Words that people search for, and a page that has to be found for each.
SEARCHED = {
    'migrate': 'howto/from-thriftpy2',
    'troubleshooting': 'troubleshooting',
    'FAQ': 'faq',
    'performance': 'performance',
    'benchmark': 'performance',
    'flask': 'howto/flask',
    'celery': 'howto/celery',
    'upgrade': 'faq',
    'unit test': 'howto/unit-tests',
    'kerberos': 'howto/kerberos',
    'timeout': 'howto/timeouts',
    'retry': 'howto/retries',
    'pool': 'howto/choose-a-pool',
    'asyncio': 'reference/aio',
    'install': 'install',
    'kubernetes': 'howto/kubernetes',
    'metrics': 'howto/observe',
    'certificate': 'howto/tls',
    'quick start': 'quickstart',
    'django': 'howto/prefork',
    'logging': 'howto/logging',
    'multiplexed': 'howto/multiplexed',
    'deadline': 'howto/timeouts',
    'circuit breaker': 'howto/retries',
    'zookeeper': 'howto/zookeeper',
    'prometheus': 'howto/observe',
    'session': 'howto/sessions',
    'numpy': 'howto/arrays',
    'maybe_executed': 'reference/errors',
}
#: Modules whose names are all public.
PUBLIC = (
    'thrift_client',
    *(f'thrift_client.{name}' for name in ('aio', 'convert', 'discovery', 'errors', 'events')),
    *(f'thrift_client.{name}' for name in ('observe', 'routing', 'testing')),
)
#: Names of a package that are modules, described by the pages about what is in them.
MODULES = {
    *('convert', 'discovery', 'errors', 'routing', 'testing', '__version__'),
    *('behaviours', 'malformed', 'toxics'),
}
#: Constructors that accept options, by page.
CONSTRUCTORS = {
    'reference/clients.html': (
        *('SimpleClient', 'HashClient', 'ReplicatedClient', 'BalancedClient'),
        'ApacheTransport',
    ),
    'reference/aio.html': ('AsyncSimpleClient', 'AsyncHashClient', 'AsyncBalancedClient'),
}
#: Names whose module has no list of public names, or leaves them out of it.
BESIDES = ('thrift_client.errors.WrongLoop',)


class Index:
    """The index that the search of the built pages uses."""

    def __init__(self, path):
        text = path.read_text()
        self.data = json.loads(text[text.index('(') + 1 : text.rindex(')')])

    def pages(self, word):
        """The pages whose titles, headings or text have a word, as the search stems it."""
        stem = self._stem(word)
        found = set()
        for terms in (self.data['titleterms'], self.data['terms']):
            numbers = terms.get(stem, [])
            found.update([numbers] if isinstance(numbers, int) else numbers)
        return {self.data['docnames'][number] for number in found}

    @staticmethod
    def _stem(word):
        from sphinx.search.en import SearchEnglish

        return SearchEnglish({}).stem(word.lower())


@pytest.fixture(scope='module')
def index(built):
    """The search index of the built pages."""
    return Index(built['index.html'].parent / 'searchindex.js')


@pytest.mark.parametrize('words', SEARCHED)
def test_the_search_finds_a_page(index, words):
    """Each of these words leads to the page that is about it."""
    found = [index.pages(word) for word in words.split()]
    assert SEARCHED[words] in set.intersection(*found)


def test_each_searched_page_has_its_subject_in_its_title(built):
    """The result list shows titles: those of the pages say what they are about."""
    for words, page in SEARCHED.items():
        text = built[f'{page}.html'].read_text()
        titles = re.findall(r'<h[123]>(.*?)<', text)
        named = ' '.join(titles).lower().replace('-', ' ')
        if words not in ('migrate', 'upgrade', 'maybe_executed'):
            first = words.lower().split()[0]
            assert first.rstrip('y') in named, (words, titles)


def documented(built):
    """The objects that the API reference describes."""
    data = (built['index.html'].parent / 'objects.inv').read_bytes()
    lines = zlib.decompress(data.split(b'\n', 4)[4]).decode().splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith('py:')}


def test_the_reference_has_every_public_name(built):
    """Each name in the `__all__` of a public module is described, under one name or another."""
    described = documented(built)
    short = {name.rpartition('.')[2] for name in described}
    missing = []
    for module in PUBLIC:
        for name in importlib.import_module(module).__all__:
            known = f'{module}.{name}' in described or name in short | MODULES
            if not known:
                missing.append(f'{module}.{name}')
    missing += [name for name in BESIDES if name not in described]
    assert not missing


def test_the_reference_has_what_fault_servers_can_do(built):
    """The functions and constants of the modules that `testing` has are described."""
    described = documented(built)
    for name in ('behaviours', 'malformed', 'toxics'):
        module = importlib.import_module(f'thrift_client.testing.{name}')
        own = [
            f'{module.__name__}.{each}'
            for each, value in vars(module).items()
            if not each.startswith('_')
            and (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == module.__name__
            and value.__doc__
        ]
        assert own
        assert [each for each in own if each not in described] == []


def test_constructors_lead_to_the_options(built):
    """Each client and pool that accepts options links their page."""
    for page, names in CONSTRUCTORS.items():
        article = built[page].read_text().partition('</article>')[0]
        parts = article.split('<dl class="py class">')
        for name in names:
            identifier = re.compile(rf'id="thrift_client[\w.]*\.{name}"')
            (own,) = [part for part in parts if identifier.search(part)]
            assert 'href="options.html"' in own, name
