"""The structure of the package: one-way imports, short modules, objects that keep to themselves.

`python test/unit/layers.py` prints every figure with the lines behind it.
"""

import ast
import re

from unit import layers

#: The most of each figure that the layout allows.
LIMITS = {
    'top_modules': 18,
    'unplaced_modules': 0,
    'long_modules': 0,
    'long_functions': 0,
    'upward_imports': 0,
    'impure_imports': 0,
    'questions_to_the_system': 0,
    'modules_in_circles': 0,
    'modules_in_type_circles': 6,
    'reaches': 60,
    'repeated_class_names': 0,
    'missing_docstrings': 0,
    'internal_imports': 0,
}
PACKAGE = layers.modules()


def check(figure):
    """Hold a figure against its limit."""
    name = figure.__name__
    found = figure(PACKAGE)
    assert len(found) <= LIMITS[name], '\n'.join((f'{name}: {len(found)}', *found))


def test_the_package_is_a_few_parts():
    """Few modules are directly in the package, and each member has a place in the layout."""
    check(layers.top_modules)
    check(layers.unplaced_modules)


def test_modules_and_functions_stay_readable():
    """No module and no function has too many lines."""
    check(layers.long_modules)
    check(layers.long_functions)


def test_imports_go_one_way():
    """From values up to the command line; nothing that decides imports clocks, sockets or dice."""
    check(layers.upward_imports)
    check(layers.impure_imports)


def test_what_relies_on_the_interpreters_lock_is_listed():
    """A module that says so in its docstring is in the table of docs/support.md, and no other."""
    said = {
        module.name.removeprefix('thrift_client.')
        for module in PACKAGE
        if 'GIL' in (ast.get_docstring(module.tree) or '')
    }
    told = {
        module.name.removeprefix('thrift_client.')
        for module in PACKAGE
        if 'ithout the GIL' in ' '.join((ast.get_docstring(module.tree) or '').split())
    }
    text = (layers.ROOT.parent / 'docs' / 'support.md').read_text(encoding='utf-8')
    table = text[text.index('| relies on the') : text.index('Other modules with threads')]
    listed = set(re.findall(r'`([a-z]+\.[a-z_]+)`', table))
    assert told == said
    assert listed == said


def test_weak_collections_have_a_lock_or_rely_on_the_interpreters():
    """They are written in Python; a module that has one without a lock says what it relies on."""
    weak = {'WeakKeyDictionary', 'WeakSet', 'WeakValueDictionary'}
    for module in PACKAGE:
        called = {
            getattr(node.func, 'id', getattr(node.func, 'attr', ''))
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
        }
        if called & weak and not called & {'Lock', 'RLock'}:
            assert 'GIL' in (ast.get_docstring(module.tree) or ''), module.name


def test_one_module_knows_the_system():
    """No other one uses what macOS or Windows lack, or asks which system it is on."""
    check(layers.questions_to_the_system)


def test_imports_make_no_circles():
    """Imports in functions count too; only for types, a few cycles are allowed."""
    check(layers.modules_in_circles)
    check(layers.modules_in_type_circles)


def test_objects_keep_to_themselves():
    """Code uses the underscore attributes of its own object, and of others `_endpoint` alone."""
    check(layers.reaches)


def test_names_and_docstrings():
    """A class's name tells it from all others; whatever is public has a docstring."""
    check(layers.repeated_class_names)
    check(layers.missing_docstrings)


def test_tests_use_public_names():
    """Only pure unit tests of the core import what users don't."""
    check(layers.internal_imports)


#: A source in a module, a figure, and how many lines it has to find there.
CASES = [
    (layers.upward_imports, 'core/call.py', 'import thrift_client.sync.client', 1),
    (layers.upward_imports, 'core/call.py', 'from thrift_client import sync', 1),
    (layers.upward_imports, 'core/call.py', 'from thrift_client import SimpleClient', 1),
    (layers.upward_imports, 'core/call.py', 'from .. import aio, errors', 1),
    (layers.upward_imports, 'core/call.py', 'from ..aio.client import X', 1),
    (layers.upward_imports, 'core/__init__.py', 'from ..aio import X', 1),
    (layers.upward_imports, 'core/call.py', 'def f():\n from ..sync import X', 1),
    (layers.upward_imports, 'core/call.py', 'from . import retry\nfrom ..errors import X', 0),
    (layers.upward_imports, 'errors.py', 'from .core import X', 1),
    (layers.upward_imports, 'errors.py', 'from .unheard import X', 1),
    (layers.upward_imports, 'shared/pool_base.py', 'from ..core import X', 0),
    (layers.upward_imports, 'sync/client.py', 'from ..aio import X', 1),
    (layers.upward_imports, 'aio/client.py', 'from ..sync import X', 1),
    (layers.upward_imports, 'aio/client.py', 'from ..core import X', 0),
    (layers.upward_imports, '__init__.py', 'from .testing import X', 0),
    (layers.impure_imports, 'core/call.py', 'from time import monotonic', 1),
    (layers.impure_imports, 'core/call.py', 'import concurrent, asyncio.events', 1),
    (layers.impure_imports, 'sync/stream.py', 'import socket', 0),
    (layers.questions_to_the_system, 'sync/x.py', 'import fcntl, select\nfrom os import fork', 3),
    (layers.questions_to_the_system, 'sync/x.py', "hasattr(socket, 'AF_UNIX')", 1),
    (layers.questions_to_the_system, 'sync/x.py', 'socket.AF_UNIX\nsys.platform\nos.fork()', 3),
    (layers.questions_to_the_system, 'sync/x.py', 'def f():\n from signal import SIGALRM', 2),
    (layers.questions_to_the_system, 'sync/x.py', 'from ..shared.platform import AF_UNIX', 0),
    (layers.questions_to_the_system, 'sync/x.py', 'os.getpid()\nsocket.socketpair()', 0),
    (layers.questions_to_the_system, 'shared/platform.py', 'import select', 0),
    (layers.modules_in_circles, 'core/call.py', 'def f():\n from . import call, retry', 0),
    (layers.reaches, 'core/call.py', 'other._x\nother.x._y = 1', 2),
    (layers.reaches, 'core/call.py', 'self._x\ncls._x\nsuper()._x\ntype(self)._x', 0),
    (layers.reaches, 'core/call.py', 'self.x._y\nself._x._y', 2),
    (layers.reaches, 'core/call.py', 'client._endpoint\nx.__dict__\nfor _ in x: pass', 0),
    (layers.reaches, 'core/call.py', "getattr(other, '_x')\nobject.__setattr__(o, '_x', 1)", 2),
    (layers.reaches, 'core/call.py', "getattr(self, '_x')\nimport os\nos._exit(1)", 0),
    (layers.reaches, 'core/call.py', 'from .retry import _pause', 1),
    (layers.repeated_class_names, 'core/call.py', 'class A: pass\ndef f():\n class A: pass', 2),
    (layers.missing_docstrings, 'core/call.py', 'def f(): pass', 2),
    (layers.missing_docstrings, 'core/call.py', '"""M."""\nclass A:\n def f(self): pass', 2),
    (layers.missing_docstrings, 'core/call.py', '"""M."""\ndef _f():\n def g(): pass', 0),
]


def test_the_checks_find_what_they_are_for():
    """Each way to break a rule is found, and nothing that keeps it."""
    for figure, path, source, expected in CASES:
        found = figure([layers.Module(path, source)])
        assert len(found) == expected, (figure.__name__, source, found)
    circle = [
        layers.Module('core/call.py', 'def f():\n from .retry import pause'),
        layers.Module('core/retry.py', 'from . import hedge'),
        layers.Module('core/hedge.py', 'if TYPE_CHECKING:\n from .call import Call'),
    ]
    assert layers.modules_in_circles(circle) == []
    assert len(layers.modules_in_type_circles(circle)) == 3
    circle[-1] = layers.Module('core/hedge.py', 'from .call import Call')
    assert len(layers.modules_in_circles(circle)) == 3
    assert layers.modules_in_type_circles(circle) == []
    assert layers.modules_in_circles(circle[:2]) == []


def test_the_length_of_a_function_is_its_code():
    """A docstring of any length is free, one line of code too many is not."""
    for lines, found in ((layers.FUNCTION_LINES - 1, 0), (layers.FUNCTION_LINES, 1)):
        source = 'def f():\n    """One.\n\n    Two.\n    """\n' + '    pass\n' * lines
        assert len(layers.long_functions([layers.Module('core/call.py', source)])) == found

