"""Parses the text of a `.thrift` file into declarations, by recursive descent.

Accepts what Apache's compiler accepts, its leniencies too: a byte order mark, text that is
not UTF-8, list separators anywhere, fields without ids, `async` for oneway, `&`, and the
attributes of other languages, which are skipped.
"""

from __future__ import annotations

import re

from thrift_client.errors import IdlError
from thrift_client.idl.syntax import (
    ConstNode,
    Declaration,
    Document,
    EnumNode,
    FieldNode,
    FunctionNode,
    ServiceNode,
    StructNode,
    TypedefNode,
    TypeName,
    Value,
)

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ClassVar, TypeVar

    T = TypeVar('T')

#: How deep types and values may be nested; this library's limit, so that no text exhausts the
#: stack.
MAX_DEPTH = 64
#: Longer numbers are out of range anyway, and Python refuses to read very long ones.
MAX_DIGITS = 100

I32_MIN, I32_MAX = -(1 << 31), (1 << 31) - 1

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f\v]+|//[^\n]*|\#[^\n]*)
    |(?P<doc>/\*.*?\*/)
    |(?P<name>[A-Za-z_](?:\.?[A-Za-z_0-9])*)
    |(?P<hex>[+-]?0x[0-9A-Fa-f]+)
    |(?P<double>[+-]?(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+))
    |(?P<int>[+-]?[0-9]+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<symbol>[:;,{}()=<>\[\]*&-])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r'\\(.)', re.DOTALL)
_ESCAPED = {'n': '\n', 'r': '\r', 't': '\t', '"': '"', "'": "'", '\\': '\\'}
_SIMPLE_NAME = re.compile('[A-Za-z_][A-Za-z_0-9]*')

_CONTAINERS = {'list': 1, 'set': 1, 'map': 2}
#: Declarations of namespaces in the ways of old compilers: a keyword and a name.
_OLD_NAMESPACES = frozenset(
    (
        'cpp_namespace',
        'java_package',
        'cocoa_prefix',
        'csharp_namespace',
        'delphi_namespace',
        'php_namespace',
        'py_module',
        'perl_package',
        'ruby_namespace',
        'smalltalk_category',
        'smalltalk_prefix',
        'xsd_namespace',
    )
)


def parse(data: bytes, path: str) -> Document:
    """Read the bytes of a file. Raises IdlError, whatever they are."""
    return _Parser(decode(data), path).document()


def decode(data: bytes) -> str:
    """Return the text of a file: UTF-8 with or without a byte order mark, else latin-1."""
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:
        return data.decode('latin-1')


def clean_doc(text: str) -> str | None:
    r"""Return the text in a `/** … */`; None for a comment that documents nothing."""
    if not text.startswith('/**') or text == '/**/':
        return None
    lines = [line.strip() for line in text[3:-2].splitlines()]
    inner = [line.lstrip('*').strip() if line.startswith('*') else line for line in lines]
    return '\n'.join(inner).strip() or None


class _Parser:
    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.lines: list[int] = []
        self.docs: dict[int, str] = {}
        self.at = 0
        self.depth = 0
        self._scan(text)

    def _scan(self, text: str) -> None:
        """Cut the text into tokens. The doc before a token is kept by the token's place."""
        at, line = 0, 1
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                what = 'a Thrift declaration'
                if text[at] in '"\'':
                    what = 'the end of the string'
                elif text.startswith('/*', at):
                    what = 'the end of the comment, */'
                raise IdlError(self.path, line, f'expected {what}, not {text[at : at + 20]!r}')
            kind, piece = str(found.lastgroup), found.group()
            if kind == 'doc':
                doc = clean_doc(piece)
                if doc is not None:
                    self.docs[len(self.kinds)] = doc
            elif kind != 'space':
                self.kinds.append(kind)
                self.texts.append(piece)
                self.lines.append(line)
            line += piece.count('\n')
            at = found.end()
        self.kinds.append('end')
        self.texts.append('the end of the file')
        self.lines.append(line)

    # The current token, and steps over it.

    @property
    def line(self) -> int:
        """The line number of the current token."""
        return self.lines[self.at]

    def sees(self, text: str) -> bool:
        """Tell whether the current token is this word or symbol."""
        return self.texts[self.at] == text and self.kinds[self.at] in {'name', 'symbol'}

    def take(self, text: str) -> bool:
        """Step over this word or symbol if it is the current token; return whether it was."""
        if self.sees(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Step over this word or symbol; raises IdlError if it is not the current token."""
        if not self.take(text):
            raise self.failure(repr(text))

    def failure(self, expected: str) -> IdlError:
        """Create the error that says what was expected instead of the current token."""
        found = self.texts[self.at]
        shown = found if self.kinds[self.at] == 'end' else repr(found[:40])
        return IdlError(self.path, self.line, f'expected {expected}, not {shown}')

    def doc(self) -> str | None:
        """Return the text of the doc comment before the current token, or None."""
        return self.docs.get(self.at)

    def name(self, what: str, *, dotted: bool = False) -> str:
        """Read a name, with dots only if `dotted`; `what` is what an error expects here."""
        text = self.texts[self.at]
        if self.kinds[self.at] != 'name' or not (dotted or _SIMPLE_NAME.fullmatch(text)):
            raise self.failure(what)
        self.at += 1
        return text

    def string(self, what: str) -> str:
        """Read a string in quotes and resolve its escapes."""
        if self.kinds[self.at] != 'string':
            raise self.failure(what)
        self.at += 1
        return _ESCAPE.sub(self._escape, self.texts[self.at - 1][1:-1])

    def _escape(self, found: re.Match[str]) -> str:
        if found[1] not in _ESCAPED:
            wrong = f'expected one of \\n \\r \\t \\" \\\' \\\\, not {found[0]!r}'
            raise IdlError(self.path, self.lines[self.at - 1], wrong)
        return _ESCAPED[found[1]]

    def integer(self, what: str) -> int:
        """Read a whole number, decimal or hexadecimal."""
        kind, text = self.kinds[self.at], self.texts[self.at]
        if kind not in {'int', 'hex'} or len(text) > MAX_DIGITS:
            raise self.failure(what)
        self.at += 1
        return int(text, 16 if kind == 'hex' else 10)

    def deeper(self, read: Callable[[], T]) -> T:
        """Read something that may hold more of its kind."""
        if self.depth == MAX_DEPTH:
            wrong = f'nested more than {MAX_DEPTH} levels deep'
            raise IdlError(self.path, self.line, wrong)
        self.depth += 1
        try:
            return read()
        finally:
            self.depth -= 1

    def separator(self) -> None:
        """Step over a comma or a semicolon, if there is one."""
        if not self.take(','):
            self.take(';')

    def until(self, end: str) -> Iterator[None]:
        """Iterate until the closing symbol, and step over it."""
        while not self.take(end):
            if self.kinds[self.at] == 'end':
                raise self.failure(repr(end))
            yield

    # The grammar.

    def document(self) -> Document:
        """Read a whole file."""
        document = Document(self.path)
        while self.kinds[self.at] != 'end':
            if self.take('include'):
                line = self.line
                document.includes.append((self.string("a file's name in quotes"), line))
            elif not self._skipped_header():
                document.declarations.append(self._declaration())
            self.separator()
        return document

    def _skipped_header(self) -> bool:
        """Skip a declaration that only other languages use."""
        if self.take('cpp_include'):
            self.string("a file's name in quotes")
        elif self.take('namespace'):
            if not self.take('*'):
                self._dashed('a language')
            self._dashed('a namespace')
            self.annotations()
        elif self.texts[self.at] in _OLD_NAMESPACES and self.kinds[self.at] == 'name':
            self.at += 1
            if self.kinds[self.at] == 'string':
                self.at += 1
            else:
                self._dashed('a namespace')
        else:
            return False
        return True

    def _dashed(self, what: str) -> None:
        self.name(what, dotted=True)
        while self.take('-'):
            self.name(what, dotted=True)

    def _declaration(self) -> Declaration:
        doc, line = self.doc(), self.line
        word = self.texts[self.at] if self.kinds[self.at] == 'name' else ''
        if word in {'struct', 'union', 'exception'}:
            self.at += 1
            return self._struct(word, line, doc)
        if word in self._declarations:
            self.at += 1
            return self._declarations[word](self, line, doc)
        raise self.failure(
            'a declaration (namespace, include, const, typedef, enum, struct, union, exception '
            'or service)'
        )

    def _const(self, line: int, doc: str | None) -> ConstNode:
        type_ = self.type()
        name = self.name("the constant's name")
        self.expect('=')
        return ConstNode(name, type_, self.value(), line, doc)

    def _typedef(self, line: int, doc: str | None) -> TypedefNode:
        type_ = self.type()
        name = self.name("the typedef's name")
        self.annotations()
        return TypedefNode(name, type_, line, doc)

    def _enum(self, line: int, doc: str | None) -> EnumNode:
        name = self.name("the enum's name")
        members: list[tuple[str, int]] = []
        docs: dict[str, str] = {}
        lines = []
        number = -1
        self.expect('{')
        for _ in self.until('}'):
            lines.append(self.line)
            member_doc = self.doc()
            member = self.name("a member's name or '}'")
            if member_doc is not None:
                docs[member] = member_doc
            number = self.integer('a number') if self.take('=') else number + 1
            if not I32_MIN <= number <= I32_MAX:
                wrong = f'expected a number within 32 bits for {member}, not {number}'
                raise IdlError(self.path, self.lines[self.at - 1], wrong)
            members.append((member, number))
            self.annotations()
            self.separator()
        self.annotations()
        self._unique([member for member, _ in members], f'enum {name}', lines)
        return EnumNode(name, members, docs, line, doc)

    def _senum(self, line: int, doc: str | None) -> TypedefNode:
        """Return an enum of strings, which old compilers knew: the type is string."""
        name = self.name("the enum's name")
        self.expect('{')
        for _ in self.until('}'):
            self.string("a string or '}'")
            self.separator()
        self.annotations()
        return TypedefNode(name, TypeName('string', line), line, doc)

    def _struct(self, kind: str, line: int, doc: str | None) -> StructNode:
        name = self.name(f"the {kind}'s name")
        self.take('xsd_all')
        self.expect('{')
        fields = self.fields('}', f'{kind} {name}')
        immutable = self.annotations().get('python.immutable')
        frozen = kind == 'exception' if immutable is None else immutable != 'false'
        return StructNode(kind, name, fields, frozen, line, doc)

    def _service(self, line: int, doc: str | None) -> ServiceNode:
        name = self.name("the service's name")
        extends = None
        if self.take('extends'):
            extends = self.name('a service', dotted=True)
        self.expect('{')
        functions = [self._function() for _ in self.until('}')]
        self.annotations()
        lines = [function.line for function in functions]
        self._unique([function.name for function in functions], f'service {name}', lines)
        return ServiceNode(name, extends, functions, line, doc)

    def _function(self) -> FunctionNode:
        doc, line = self.doc(), self.line
        oneway = self.take('oneway') or self.take('async')
        returns = None if self.take('void') else self.type()
        name = self.name("the method's name")
        self.expect('(')
        arguments = self.fields(')', f'arguments of {name}')
        throws = []
        if self.take('throws'):
            self.expect('(')
            throws = self.fields(')', f'exceptions of {name}')
        self.annotations()
        self.separator()
        if oneway and (returns is not None or throws):
            wrong = f'expected void and no exceptions for the oneway method {name}'
            raise IdlError(self.path, line, wrong)
        return FunctionNode(name, oneway, returns, arguments, throws, line, doc)

    def fields(self, end: str, what: str) -> list[FieldNode]:
        """Read the fields up to the closing symbol. Those without an id count down from -1."""
        found: list[FieldNode] = []
        unnumbered = -1
        for _ in self.until(end):
            field = self._field(unnumbered, end)
            if field.id < 0:
                unnumbered -= 1
            found.append(field)
        lines = [field.line for field in found]
        self._unique([field.id for field in found], what, lines, 'id ')
        self._unique([field.name for field in found], what, lines)
        return found

    def _field(self, unnumbered: int, end: str) -> FieldNode:
        doc, line, number = self.doc(), self.line, unnumbered
        if self.kinds[self.at] in {'int', 'hex'}:
            given = self.integer("a field's id")
            if given > 32767:
                wrong = f"expected a field's id of at most 32767, not {given}"
                raise IdlError(self.path, line, wrong)
            # As in Apache's compiler: it assigns the ids that aren't positive.
            number = given if given > 0 else unnumbered
            self.expect(':')
        required = True if self.take('required') else False if self.take('optional') else None
        type_ = self.type(f"a field's type or {end!r}")
        self.take('&')
        name = self.name("the field's name")
        default = self.value() if self.take('=') else None
        self.take('xsd_optional')
        self.take('xsd_nillable')
        if self.take('xsd_attrs'):
            self.expect('{')
            self.deeper(lambda: self.fields('}', 'xsd_attrs'))
        self.annotations()
        self.separator()
        return FieldNode(number, name, type_, required, default, line, doc)

    def type(self, what: str = 'a type') -> TypeName:
        """Read a type."""
        line = self.line
        name = self.name(what, dotted=True)
        inner: tuple[TypeName, ...] = ()
        if name in _CONTAINERS:
            self._cpp_type()
            self.expect('<')
            inner = (self.deeper(self.type),)
            if _CONTAINERS[name] == 2:
                self.expect(',')
                inner = (*inner, self.deeper(self.type))
            self.expect('>')
            self._cpp_type()
        immutable = self.annotations().get('python.immutable', 'false')
        return TypeName(name, line, inner, immutable != 'false')

    def _cpp_type(self) -> None:
        if self.take('cpp_type'):
            self.string('a C++ type in quotes')

    def value(self) -> Value:
        """Read a constant's value."""
        line, kind, text = self.line, self.kinds[self.at], self.texts[self.at]
        if kind == 'string':
            return Value('string', self.string(''), line)
        if kind in {'int', 'hex'}:
            return Value('int', self.integer('a number within 64 bits'), line)
        if kind in {'double', 'name'}:
            self.at += 1
            return Value(kind, float(text) if kind == 'double' else text, line)
        if self.take('['):
            return Value('list', self.deeper(self._elements), line)
        if self.take('{'):
            return Value('map', self.deeper(self._pairs), line)
        raise self.failure('a value')

    def _elements(self) -> list[Value]:
        found = []
        for _ in self.until(']'):
            found.append(self.value())
            self.separator()
        return found

    def _pairs(self) -> list[tuple[Value, Value]]:
        found = []
        for _ in self.until('}'):
            key = self.value()
            self.expect(':')
            found.append((key, self.value()))
            self.separator()
        return found

    def annotations(self) -> dict[str, str]:
        """Read `(key = "value", flag)`, which may follow nearly everything."""
        found: dict[str, str] = {}
        if not self.take('('):
            return found
        for _ in self.until(')'):
            key = self.name('an annotation', dotted=True)
            found[key] = self.string("the annotation's value in quotes") if self.take('=') else '1'
            self.separator()
        return found

    def _unique(self, names: list[T], what: str, lines: list[int], prefix: str = '') -> None:
        seen: set[T] = set()
        for name, line in zip(names, lines, strict=True):
            if name in seen:
                wrong = f'{prefix}{name} is used twice in {what}'
                raise IdlError(self.path, line, wrong)
            seen.add(name)

    _declarations: ClassVar[dict[str, Callable[..., Declaration]]] = {
        'const': _const,
        'enum': _enum,
        'senum': _senum,
        'service': _service,
        'typedef': _typedef,
    }
