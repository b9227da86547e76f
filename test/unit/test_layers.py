"""The structure of the package: imports go one way, the core does no I/O, nothing grows long."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = 'thrift_client'
ROOT = Path(__file__).parents[2] / PACKAGE

# From the ground up: a layer may import itself and what stands above it in this list.
# The empty name is the package's own __init__, which may import all.
LAYERS = (
    # Values: what is given, what is told, what is raised.
    {
        '_version',
        'address',
        'checks',
        'errors',
        'events',
        'options',
        'policy',
        'process',
        'record',
        'response',
        'stats',
        'texts',
    },
    # Decisions, without I/O.
    {'convert', 'core', 'discovery', 'idl', 'routing'},
    # What blocking and asyncio clients share.
    {
        'balancing',
        'binding',
        'budget',
        'bulk',
        'dialing',
        'following',
        'health',
        'keyed',
        'membership',
        'methods',
        'named',
        'placement',
        'racing',
        'routes',
        'secure',
        'single',
        'stack',
        'trying',
    },
    # The two ways to wait.
    {'aio', 'net'},
    # The blocking clients and pools.
    {
        'attempts',
        'balanced',
        'client',
        'fanout',
        'hashed',
        'hedged',
        'openings',
        'pool',
        'replicated',
        'talk',
        'talks',
    },
    {'observe'},
    {'', '__main__', 'cli', 'testing'},
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

IMPURE = {'asyncio', 'random', 'socket', 'ssl', 'threading', 'time'}

MODULE_LINES = 500
FUNCTION_LINES = 60

MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob('*.py'))}
every_module = pytest.mark.parametrize('name', MODULES)


def read(name: str) -> ast.Module:
    """Parse the module at this path within the package."""
    return ast.parse(MODULES[name].read_text())


def layer(module: str) -> str:
    """Name the layer's member that a dotted name within the package belongs to."""
    return module.split('.')[1] if '.' in module else ''


def dotted(name: str) -> str:
    """Turn a path within the package into a module's dotted name."""
    return '.'.join((PACKAGE, *Path(name).with_suffix('').parts)).removesuffix('.__init__')


DOTTED = {dotted(name) for name in MODULES}


def known(module: str) -> bool:
    """Tell whether a dotted name is one of the package's modules or the name of a layer."""
    return module in DOTTED or (
        module.count('.') == 1 and module.split('.')[1] in LEVELS
    )


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over the code that runs: what is there for type checkers alone is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from running(other)
        else:
            yield child
            yield from running(child)


def imports(name: str, tree: ast.Module) -> set[str]:
    """Collect the dotted names of all modules that this one imports, in functions too."""
    found = set()
    package = dotted(name).split('.')
    if not name.endswith('__init__.py'):
        package.pop()
    for node in running(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join((*above, *filter(None, [node.module])))
            members = {f'{base}.{alias.name}' for alias in node.names}
            submodules = {member for member in members if known(member)}
            found |= submodules
            if submodules != members:
                found.add(base)
    return found


def climbs(name: str, tree: ast.Module) -> set[str]:
    """Collect what a module imports from layers over its own."""
    level = LEVELS.get(layer(dotted(name)), 0)
    ours = {module for module in imports(name, tree) if module.split('.')[0] == PACKAGE}
    return {module for module in ours if LEVELS.get(layer(module), len(LAYERS)) > level}


def crosses(name: str, tree: ast.Module) -> set[str]:
    """Collect what a module of one of the two drivers of the core imports from the other."""
    other = {'aio': 'net', 'net': 'aio'}.get(layer(dotted(name)))
    ours = {module for module in imports(name, tree) if module.split('.')[0] == PACKAGE}
    return {module for module in ours if other and layer(module) == other}


def does_io(name: str, tree: ast.Module) -> set[str]:
    """Collect what a module of the core imports of the world outside."""
    outside = {module for module in imports(name, tree) if module.split('.')[0] in IMPURE}
    return outside if layer(dotted(name)) == 'core' else set()


def long_functions(tree: ast.Module) -> list[str]:
    """List the functions that have too many lines, their docstrings not counted."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        size = (node.end_lineno or 0) - node.lineno + 1
        if ast.get_docstring(node, clean=False) is not None:
            size -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
        if size > FUNCTION_LINES:
            found.append(f'{node.name}, line {node.lineno}: {size} lines')
    return found


@every_module
def test_every_module_has_a_layer(name: str) -> None:
    """A new module of the package is put into a layer before it is used."""
    assert layer(dotted(name)) in LEVELS


@every_module
def test_imports_go_one_way(name: str) -> None:
    """No module imports one of a layer over its own, not even inside a function."""
    assert not climbs(name, read(name))


@every_module
def test_the_drivers_of_the_core_are_independent(name: str) -> None:
    """Blocking I/O and asyncio share the core, not each other's code."""
    assert not crosses(name, read(name))


@every_module
def test_the_core_does_no_io(name: str) -> None:
    """The core imports no socket, thread, event loop, clock or dice."""
    assert not does_io(name, read(name))


@every_module
def test_modules_stay_readable(name: str) -> None:
    """No module has more lines than can be read in one go."""
    assert len(MODULES[name].read_text().splitlines()) <= MODULE_LINES


@every_module
def test_functions_stay_readable(name: str) -> None:
    """No function has more lines than can be seen at once."""
    assert not long_functions(read(name))


@pytest.mark.parametrize(
    ('check', 'name', 'source', 'found'),
    [
        (climbs, 'core/call.py', 'import thrift_client.client', {'thrift_client.client'}),
        (climbs, 'core/call.py', 'from thrift_client import pool', {'thrift_client.pool'}),
        (climbs, 'core/call.py', 'from thrift_client import SimpleClient', {'thrift_client'}),
        (climbs, 'core/call.py', 'from .. import net, errors', {'thrift_client.net'}),
        (climbs, 'core/call.py', 'from ..net.stream import X', {'thrift_client.net.stream'}),
        (climbs, 'core/__init__.py', 'from ..net import X', {'thrift_client.net'}),
        (climbs, 'core/call.py', 'def f():\n from ..net import X', {'thrift_client.net'}),
        (climbs, 'core/call.py', 'from . import retry\nfrom ..errors import X', set()),
        (climbs, 'errors.py', 'if TYPE_CHECKING:\n from .client import X', set()),
        (climbs, 'errors.py', 'from .core import X', {'thrift_client.core'}),
        (climbs, 'errors.py', 'from .unheard import X', {'thrift_client.unheard'}),
        (climbs, '__init__.py', 'from .testing import X\nfrom .pool import Y', set()),
        (crosses, 'aio/client.py', 'from ..net import X', {'thrift_client.net'}),
        (crosses, 'aio/client.py', 'from ..core import X', set()),
        (does_io, 'core/call.py', 'from time import monotonic', {'time'}),
        (does_io, 'core/call.py', 'import concurrent, asyncio.events', {'asyncio.events'}),
        (does_io, 'net/stream.py', 'import socket', set()),
    ],
)
def test_the_checks_bite(check: object, name: str, source: str, found: set[str]) -> None:
    """Each way to write a wrong import is found, and no right one is."""
    assert check(name, ast.parse(source)) == found


@pytest.mark.parametrize(('lines', 'bites'), [(FUNCTION_LINES - 1, False), (FUNCTION_LINES, True)])
def test_the_length_of_a_function_is_its_code(lines: int, bites: bool) -> None:
    """A docstring of any length is free, one line of code too many is not."""
    source = 'def f():\n    """One.\n\n    Two.\n    """\n' + '    pass\n' * lines
    assert bool(long_functions(ast.parse(source))) is bites


def test_there_is_a_package_to_check() -> None:
    """The tests above have modules to look at."""
    assert 'errors.py' in MODULES
