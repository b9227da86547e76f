"""Figures of the package's structure: `python test/unit/layers.py` prints them.

Each function returns what is over a limit or against a rule, as readable lines. Generated code
(`gen-py`) is left out.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = 'thrift_client'
ROOT = Path(__file__).parents[2] / PACKAGE

MODULE_LINES = 500
FUNCTION_LINES = 60

#: The layout, from the ground up: a member imports its own level and the ones above it in this
#: table. The empty name is the package's own `__init__`.
LAYERS = (
    {
        *('_version', 'errors', 'address', 'options', 'policies', 'deadlines', 'response'),
        *('mistakes', 'outside'),
        *('events', 'stats'),
        *('typed', 'typed_aio', 'typed_options'),  # type stubs, without code
    },
    {'core', 'routing', 'idl', 'convert', 'discovery', 'observe'},
    {'shared'},
    {'sync', 'aio'},
    {'cli', 'testing', '__main__', ''},
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
#: The two drivers of the core know nothing of each other.
SEPARATE = {'aio': {'sync'}, 'sync': {'aio'}}
#: What decides, and may neither wait nor draw lots.
PURE = {'core', 'routing'}
IMPURE = {'asyncio', 'random', 'socket', 'ssl', 'threading', 'time'}

#: The one underscore attribute that other objects read.
SHARED_ATTRIBUTE = '_endpoint'
_OWN = {'self', 'cls'}
_BY_NAME = {'getattr', 'setattr', 'hasattr', 'delattr', 'attrgetter', '__setattr__'}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


#: The module that knows what the system has, and the test tool that is nothing but a fork.
OF_THE_SYSTEM = {'shared/platform.py', 'testing/forked.py'}


class Module:
    """A module of the package: `name` is dotted, `tree` its syntax."""

    def __init__(self, path: str, text: str) -> None:
        parts = [part for part in Path(path).with_suffix('').parts if part != '__init__']
        self.path = path
        self.name = '.'.join((PACKAGE, *parts))
        self.layer = parts[0] if parts else ''
        self.lines = len(text.splitlines())
        self.tree = ast.parse(text)

    @property
    def package(self) -> list[str]:
        """The parts of the package's name that its relative imports start from."""
        parts = self.name.split('.')
        return parts if self.path.endswith('__init__.py') else parts[:-1]


def modules() -> list[Module]:
    """Read all modules of the package."""
    return [
        Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding='utf-8'))
        for path in sorted(ROOT.rglob('*.py'))
        if 'gen-py' not in path.parts
    ]


def top_modules(package: list[Module]) -> list[str]:
    """List the modules directly in the package's folder."""
    return [module.path for module in package if '/' not in module.path]


def unplaced_modules(package: list[Module]) -> list[str]:
    """List the members of the package's folder that the layout doesn't have."""
    placed = set().union(*LAYERS)
    return sorted({module.layer for module in package} - placed)


def long_modules(package: list[Module]) -> list[str]:
    """List the modules with too many lines."""
    return [f'{m.path}: {m.lines} lines' for m in package if m.lines > MODULE_LINES]


def long_functions(package: list[Module]) -> list[str]:
    """List the functions with too many lines; docstrings aren't counted."""
    found = []
    for module in package:
        for node in ast.walk(module.tree):
            if isinstance(node, _FUNCTIONS):
                size = _lines(node)
                if ast.get_docstring(node, clean=False) is not None:
                    size -= _lines(node.body[0])
                if size > FUNCTION_LINES:
                    found.append(f'{module.path}:{node.lineno} {node.name}: {size} lines')
    return found


def upward_imports(package: list[Module]) -> list[str]:
    """List the imports of a higher level, of the other driver, and of unknown members."""
    names = {module.name for module in package}
    found = []
    for module in package:
        level = LEVELS.get(module.layer, -1)
        for imported in sorted(imports(module, names)):
            if imported.split('.')[0] != PACKAGE:
                continue
            layer = imported.split('.')[1] if '.' in imported else ''
            upward = LEVELS.get(layer, len(LAYERS)) > level
            if upward or layer in SEPARATE.get(module.layer, ()):
                found.append(f'{module.path} imports {imported}')
    return found


def impure_imports(package: list[Module]) -> list[str]:
    """List what modules that decide import of clocks, sockets, threads, loops and dice."""
    names = {module.name for module in package}
    return [
        f'{module.path} imports {imported}'
        for module in package
        if module.layer in PURE
        for imported in sorted(imports(module, names))
        if imported.split('.')[0] in IMPURE
    ]


def _missing() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """What some system lacks: names by module, and modules."""
    path = Path(__file__).parents[1] / 'bare_system' / 'missing.py'
    spec = importlib.util.spec_from_file_location('missing', path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.NAMES, found.MODULES


def questions_to_the_system(package: list[Module]) -> list[str]:
    """List where else than in the platform module a name is used that some system lacks.

    `socket.socketpair` exists everywhere: Python makes one of TCP. Asking whether a module of
    the system has a name, or which system it is, counts, too.
    """
    names, absent = _missing()
    found = []
    for module in package:
        if module.path not in OF_THE_SYSTEM:
            for node in ast.walk(module.tree):
                found += (
                    f'{module.path}:{node.lineno} {asked}'
                    for asked in _asked(node)
                    if _is_of_the_system(asked, names, absent)
                )
    return found


def _asked(node: ast.AST) -> list[str]:
    """Return the dotted names that a node takes from modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [str(node.module), *(f'{node.module}.{alias.name}' for alias in node.names)]
    if isinstance(node, ast.Attribute):
        return [ast.unparse(node)]
    if isinstance(node, ast.Call) and _name_of(node.func) in {'getattr', 'hasattr'}:
        return [f'{ast.unparse(node.args[0])}.?']
    return []


def _is_of_the_system(
    asked: str, names: dict[str, tuple[str, ...]], absent: tuple[str, ...]
) -> bool:
    owner, _, name = asked.rpartition('.')
    if asked in {*absent, 'select', 'signal', 'sys.platform', 'os.name'}:
        return True
    return owner in names and name != 'socketpair' and (name == '?' or name in names[owner])


def modules_in_circles(package: list[Module]) -> list[str]:
    """List the modules that import themselves through others, circle by circle."""
    return _in_circles(package, for_types=False)


def modules_in_type_circles(package: list[Module]) -> list[str]:
    """List the same where an import for types alone is part of the circle."""
    return sorted(set(_in_circles(package, for_types=True)) - set(modules_in_circles(package)))


def _in_circles(package: list[Module], *, for_types: bool) -> list[str]:
    names = {module.name for module in package}
    graph = {
        module.name: imports(module, names, for_types=for_types) & names - {module.name}
        for module in package
    }
    return [name for circle in _circles(graph) for name in circle]


def reaches(package: list[Module]) -> list[str]:
    """List where code uses an underscore attribute of an object that isn't its own.

    `self._x`, `cls._x`, `super()._x` and `type(self)._x` are its own. `getattr` and its like
    count when the name is written out, and so does importing an underscore name.
    """
    found = []
    for module in package:
        foreign = _foreign_names(module)
        for node in ast.walk(module.tree):
            found += (
                f'{module.path}:{node.lineno} {reach}' for reach in _reached(node, foreign)
            )
    return found


def repeated_class_names(package: list[Module]) -> list[str]:
    """List the names that more than one class has."""
    defined = [
        (node.name, module.path)
        for module in package
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    counts = Counter(name for name, _ in defined)
    return sorted(f'{name}: {path}' for name, path in defined if counts[name] > 1)


def missing_docstrings(package: list[Module]) -> list[str]:
    """List modules and public classes, functions and methods without a docstring.

    Special methods, overloads, setters and functions inside functions need none.
    """
    found = []
    for module in package:
        if ast.get_docstring(module.tree) is None and module.tree.body:
            found.append(module.path)
        found += (
            f'{module.path}:{node.lineno} {node.name}'
            for node in _definitions(module.tree)
            if ast.get_docstring(node) is None and not _needs_no_docstring(node)
        )
    return found


#: What tests, benchmarks and documents may import: the modules that the reference names, the table
#: of options that it is built from, and what runs the command line in this process.
PUBLIC = re.compile(
    r'thrift_client(\.(aio|errors|events|stats|options|convert|discovery|observe(\.\w+)?|'
    r'routing(\.(keys|explain))?|'
    r'testing(\.(behaviours|malformed|toxics|serve|pytest_plugin))?|cli(\.app)?))?'
)


def internal_imports(package: list[Module]) -> list[str]:
    """List what tests, benchmarks and documents import of the package's inside."""
    found, names = [], {module.name for module in package}
    for folder in ('test', 'bench', 'docs'):
        for path in sorted((ROOT.parent / folder).rglob('*.py')):
            name = path.relative_to(ROOT.parent).as_posix()
            if 'gen-' not in name and not name.startswith('test/unit/'):
                found += (
                    f'{name}:{line} imports {imported}'
                    for line, imported in _imported(path, names)
                    if imported.split('.')[0] == PACKAGE
                    and not PUBLIC.fullmatch(imported)
                )
    return found


def _imported(path: Path, names: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            members = {f'{node.module}.{alias.name}' for alias in node.names}
            yield from ((node.lineno, member) for member in members & names or {str(node.module)})


#: What is counted, in the order in which it is printed.
FIGURES = (
    *(top_modules, unplaced_modules, long_modules, long_functions, upward_imports),
    *(impure_imports, questions_to_the_system, modules_in_circles, modules_in_type_circles),
    *(reaches, repeated_class_names, missing_docstrings, internal_imports),
)


def imports(module: Module, names: set[str], *, for_types: bool = True) -> set[str]:
    """Collect the dotted names of what a module imports, in functions, too.

    Args:
        module: the one that imports.
        names: all modules of the package, to tell a submodule from an attribute.
        for_types: whether what is imported for type checkers alone counts.
    """
    found = set()
    for node in _nodes(module.tree, for_types):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            members = {f'{base}.{alias.name}' for alias in node.names}
            submodules = {member for member in members if _is_module(member, names)}
            found |= submodules
            if submodules != members:
                found.add(base)
    return found


def _nodes(tree: ast.AST, for_types: bool) -> Iterator[ast.AST]:
    ahead = [tree]
    while ahead:
        node = ahead.pop()
        yield node
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
        if for_types or not is_typing:
            ahead += ast.iter_child_nodes(node)


def _base(module: Module, node: ast.ImportFrom) -> str:
    above = module.package[: len(module.package) - node.level + 1] if node.level else []
    return '.'.join((*above, *filter(None, [node.module])))


def _is_module(name: str, names: set[str]) -> bool:
    top, _, member = name.partition('.')
    return name in names or (top == PACKAGE and member in LEVELS)


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Find the strongly connected parts of a graph that have more than one member."""
    reachable = {name: _reachable(graph, name) for name in graph}
    left, found = set(graph), []
    for name in sorted(graph):
        circle = sorted(
            other for other in reachable[name] & left if name in reachable[other]
        )
        if name in left and len(circle) > 1:
            found.append(circle)
        left -= set(circle)
    return found


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found, ahead = set(), [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def _is_private(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.startswith('_')
        and not name.startswith('__')
        and name not in {'_', SHARED_ATTRIBUTE}
    )


def _foreign_names(module: Module) -> set[str]:
    """Collect the names under which a module knows modules of others (`os`, `sys`)."""
    return {
        alias.asname or alias.name.split('.')[0]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split('.')[0] != PACKAGE
    }


def _reached(node: ast.AST, foreign: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and _is_private(node.attr):
        if not _is_own(node.value, foreign):
            yield ast.unparse(node)
    elif isinstance(node, ast.Call) and _name_of(node.func) in _BY_NAME:
        owner = node.args[0] if len(node.args) > 1 else None
        if owner is None or not _is_own(owner, foreign):
            yield from (
                ast.unparse(node)
                for argument in node.args
                if isinstance(argument, ast.Constant) and _is_private(argument.value)
            )
    elif isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith(PACKAGE)):
        yield from (f'imports {alias.name}' for alias in node.names if _is_private(alias.name))


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ''


def _is_own(value: ast.expr, foreign: set[str]) -> bool:
    if isinstance(value, ast.Name):
        return value.id in _OWN or value.id in foreign
    if isinstance(value, ast.Call) and _name_of(value.func) == 'super':
        return True
    return ast.unparse(value) == 'type(self)'


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, *_FUNCTIONS)):
            yield child
        if not isinstance(child, _FUNCTIONS):
            yield from _definitions(child)


def _needs_no_docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(decorator).rpartition('.')[2] for decorator in node.decorator_list}
    return node.name.startswith('_') or bool(decorators & {'overload', 'setter'})


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def main() -> None:
    """Print each figure, and under it what it counts."""
    package = modules()
    for figure in FIGURES:
        found = figure(package)
        print(f'{figure.__name__}: {len(found)}')
        for line in found:
            print(f'    {line}')


if __name__ == '__main__':
    main()
