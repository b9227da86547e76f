"""Thrift's JSON as fast as the standard library's: structs to text, parsed text to structs.

Apache's TJSONProtocol writes and reads one character at a time. Here, a struct is written as
one text for each field, and read from what `json` has parsed. What each struct needs is derived
from its `thrift_spec` on first use. The bytes and values are those of `JsonProtocol`, which
writes the structs that this can't.

`json` parses a text in one go, 16 MB of the worst text in a second. Making structs of the
result takes longer; meanwhile, the time is checked (`look`).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from enum import EnumMeta
from itertools import islice
from json import JSONDecodeError, JSONDecoder
from json.encoder import encode_basestring
from operator import index

from thrift.protocol.TJSONProtocol import CTYPES, ESCAPE_CHAR_VALS, JTYPES
from thrift.Thrift import TFrozenDict, TType

from thrift_client.core.failures import quoted

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Look = Callable[[], None] | None
    Write = Callable[[Any], str]
    Read = Callable[[Any], Any]

VERSION = 1
_UUID = getattr(TType, 'UUID', None)
_BITS = {TType.BYTE: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}
#: The types whose values are texts in JSON, and so may be the keys of its objects unchanged.
_TEXTS = (TType.STRING, _UUID)
_NUMBERS = (TType.BOOL, TType.DOUBLE, *_BITS)

_ESCAPES = str.maketrans(ESCAPE_CHAR_VALS)


class _MinusZero(float):
    """What `-0` is read as: a negative zero if it is a double, else the integer 0."""

    __slots__ = ()


def _parse_int(text: str) -> int | _MinusZero:
    return _MinusZero('-0') if text == '-0' else int(text)


#: Not strict: other implementations send control characters unescaped.
_parse = JSONDecoder(strict=False).raw_decode
#: The same for a text that may contain `-0`, which is slower.
_parse_exactly = JSONDecoder(strict=False, parse_int=_parse_int).raw_decode
#: The bytes of a message above which the time is checked while structs are made of it.
_LONG = 1 << 16
#: The elements of a container between two checks of the time.
_MANY = 1000
#: What may be the beginning of a number whose rest is missing.
_CUT = re.compile(r'[-+.0-9eE]*')
#: The length of an escape: one that is broken less than this before the end may be incomplete.
_ESCAPE = len(r'\u0000')
_SURROGATE = re.compile(r'[\ud800-\udfff]')


class Unsupported(Exception):
    """A struct that needs Apache's protocol: negative field ids, structured keys, enum classes."""


class JsonCoder:
    """The structs of one service in JSON.

    `encode` and `decode` have the arguments of the C extension's functions, and know the
    structs that `learn` was given. `look` is called often while structs are made, and may
    raise.
    """

    def __init__(self, look: Look = None) -> None:
        self._look = look
        self._writers: dict[Any, _Writer] = {}
        self._readers: dict[Any, _Reader] = {}
        #: How the rest of a message is parsed: another way if any struct has doubles.
        self._parse_rest: Callable[[str], tuple[Any, int]] = _struct_and_end

    def learn(self, details: Any) -> None:
        """Prepare the code for the struct that `details` describe, and for those within it.

        Raises Unsupported. Two threads may do it at the same time: only what is complete
        gets into the dicts that others look at.
        """
        learning = JsonCoder()
        writers, readers = learning.make(details)
        if learning._parse_rest is not _struct_and_end:
            self._parse_rest = learning._parse_rest
        self._writers.update(writers)
        self._readers.update(readers)

    def make(self, details: Any) -> tuple[dict[Any, _Writer], dict[Any, _Reader]]:
        """Make what codes a struct, and those within it. Raises Unsupported."""
        self._writer(*details)
        self._reader(*details)
        return self._writers, self._readers

    def encode(self, value: Any, details: Any) -> bytes:
        """Return a struct, and the end of the message around it."""
        return f'{self._writers[details[0]].write(value)}]'.encode()

    def decode(self, value: Any, protocol: Any, details: Any) -> None:
        """Read the rest of a message, from the struct on, into `value`.

        Raises Incomplete if the message continues after the end of the buffer, and ValueError
        for what is not Thrift's JSON.
        """
        tree = _parsed(protocol.trans, self._parse_rest)
        self.fill(value, tree, details, _look_of(protocol.trans))

    def message(self, protocol: Any) -> tuple[str, int, int, Any]:
        """Read a whole message: its name, type and sequence id, and the struct as parsed.

        Raises as `decode` does.
        """
        version, name, message_type, seqid, tree = _parsed(protocol.trans, _message)
        if version != VERSION:
            raise ValueError(f'version {quoted(version)} of JSON messages')
        return _text(name), _integer(message_type), _integer(seqid), tree

    def fill(self, value: Any, tree: Any, details: Any, look: Look = None) -> None:
        """Set the fields of `value` to those of a parsed struct.

        `look` is called meanwhile; an exception that it raises ends this.
        """
        # A reader that calls `look` is made for this message only.
        reader = self._readers[details[0]] if look is None else JsonCoder(look)._reader(*details)
        for name, field in reader.values(tree).items():
            setattr(value, name, field)

    def _writer(self, cls: Any, spec: Any) -> _Writer:
        writer = self._writers.get(cls)
        if writer is None:
            writer = self._writers[cls] = _Writer()  # which a recursive struct finds
            writer.fields = [
                (name, f'"{number}":{{"{_name_of(kind)}":', self._write(kind, args))
                for number, kind, name, args, _ in _fields(cls, spec)
            ]
        return writer

    def _reader(self, cls: Any, spec: Any) -> _Reader:
        reader = self._readers.get(cls)
        if reader is None:
            reader = self._readers[cls] = _Reader(cls, self._look)
            reader.fields = {
                str(number): (_name_of(kind), name, self._read(kind, args))
                for number, kind, name, args, _ in _fields(cls, spec)
            }
        return reader

    def _write(self, kind: int, args: Any) -> Write:
        """Return what writes a value of a type."""
        if kind in _BITS:
            return _integer_writer(_BITS[kind])
        if kind == TType.STRUCT:
            return self._writer(*args).write
        if kind in (TType.LIST, TType.SET):
            head, element = f'["{_name_of(args[0])}",', self._write(*args[:2])
            return lambda value: f'{head}{",".join([str(len(value)), *map(element, value)])}]'
        if kind == TType.MAP:
            return self._map_writer(args)
        if kind == TType.STRING:
            return _write_binary if args == 'BINARY' else _write_text
        return {TType.BOOL: _write_bool, TType.DOUBLE: _write_double}.get(kind, _write_uuid)

    def _map_writer(self, args: Any) -> Write:
        head = f'["{_name_of(args[0])}","{_name_of(args[2])}",'
        key, value = self._write_key(*args[:2]), self._write(*args[2:4])

        def write(given: Any) -> str:
            entries = ','.join([f'{key(k)}:{value(v)}' for k, v in given.items()])
            return f'{head}{len(given)},{{{entries}}}]'

        return write

    def _write_key(self, kind: int, args: Any) -> Write:
        write = self._write(kind, args)
        if kind in _NUMBERS:  # NaN and infinities are in quotes already
            return lambda key: text if (text := write(key))[:1] == '"' else f'"{text}"'
        if kind not in _TEXTS:
            raise Unsupported('structured keys')
        return write

    def _read(self, kind: int, args: Any) -> Read:
        """Return what makes a value of a type from its parsed form."""
        if kind in _BITS:
            return _integer
        if kind == TType.STRUCT:
            return self._reader(*args).read
        if kind in (TType.LIST, TType.SET):
            return self._collection_reader(kind, args)
        if kind == TType.MAP:
            return self._map_reader(args)
        if kind == TType.STRING:
            return _read_binary if args == 'BINARY' else _text
        if kind == TType.DOUBLE:
            self._parse_rest = _exact_struct_and_end
            return _read_double
        return _read_bool if kind == TType.BOOL else _read_uuid

    def _collection_reader(self, kind: int, args: Any) -> Read:
        element = self._read(*args[:2])
        integers = args[0] in _BITS
        immutable = args[2]
        made: Any = (frozenset if immutable else set) if kind == TType.SET else tuple
        plain_list = kind == TType.LIST and not immutable
        look = self._look

        def read(tree: Any) -> Any:
            _check_type(tree, list)
            if tree[1] != len(tree) - 2 or tree[0] not in JTYPES:
                raise ValueError(f'{len(tree) - 2} elements in a collection of {quoted(tree[1])}')
            del tree[:2]
            if integers:
                values = tree
                if not {int}.issuperset(map(type, tree)):
                    values = list(map(_integer, tree))
            else:
                values = list(_each(element, tree, look))
            return values if plain_list else made(values)

        return read

    def _map_reader(self, args: Any) -> Read:
        key, value = self._read_key(*args[:2]), self._read(*args[2:4])
        made: Any = TFrozenDict if args[4] else dict
        look = self._look

        def entry(pair: tuple[Any, Any]) -> tuple[Any, Any]:
            return key(pair[0]), value(pair[1])

        def read(tree: Any) -> Any:
            key_kind, value_kind, size, entries = tree
            _check_type(entries, dict)
            if size != len(entries) or key_kind not in JTYPES or value_kind not in JTYPES:
                raise ValueError(f'{len(entries)} entries in a map of {quoted(size)}')
            return made(_each(entry, entries.items(), look))

        return read

    def _read_key(self, kind: int, args: Any) -> Read:
        if kind in _BITS:
            return int
        if kind == TType.BOOL:
            return lambda text: int(text) != 0
        if kind not in (*_TEXTS, TType.DOUBLE):
            raise Unsupported('structured keys')
        return self._read(kind, args)


class _Writer:
    """Writes one class: it has the name, the beginning and the writer of each field."""

    __slots__ = ('fields',)

    fields: list[tuple[str, str, Write]]

    def write(self, value: Any) -> str:
        """Return the JSON of a struct: an object of the fields that are set."""
        parts = []
        for name, head, write in self.fields:
            field = getattr(value, name)
            if field is not None:
                parts.append(f'{head}{write(field)}}}')
        return f'{{{",".join(parts)}}}'


class _Reader:
    """Reads one class: it has, by number, the type, the name and the reader of each field."""

    __slots__ = ('_cls', '_look', 'fields')

    fields: dict[str, tuple[str, str, Read]]

    def __init__(self, cls: Any, look: Look) -> None:
        self._cls = cls
        self._look = look

    def values(self, tree: Any) -> dict[str, Any]:
        """Return the fields by name; unknown ones and those of another type are left out."""
        _check_type(tree, dict)
        values = {}
        if self._look is not None:
            self._look()
        for number, typed in tree.items():
            ((kind, field),) = typed.items()
            known = self.fields.get(number)
            if known is None or kind != known[0]:
                if kind not in JTYPES:
                    raise ValueError(f'a field of type {quoted(kind)}')
                int(number)
            else:
                values[known[1]] = known[2](field)
        return values

    def read(self, tree: Any) -> Any:
        """Create an instance of the class from a decoded JSON object."""
        return self._cls(**self.values(tree))


def _fields(cls: Any, spec: Any) -> list[Any]:
    """Return the fields in a spec, which is empty or None where one has a negative id."""
    code = getattr(cls.__init__, '__code__', None)
    if spec is None or (not spec and code is not None and code.co_argcount > 1):
        raise Unsupported('negative field ids')
    if _has_enums(cls):
        raise Unsupported('enum classes, which specs know nothing of')
    return [field for field in spec if field is not None]


def _name_of(kind: int) -> str:
    name: str | None = CTYPES.get(kind)
    if name is None:
        raise Unsupported(f'type {kind}')
    return name


def _has_enums(cls: Any) -> bool:
    """Tell whether the generated code makes members of enum classes of numbers."""
    read = getattr(cls, 'read', None)
    code, scope = getattr(read, '__code__', None), getattr(read, '__globals__', {})
    return code is not None and any(isinstance(scope.get(name), EnumMeta) for name in code.co_names)


def _parsed(reader: Any, parse: Callable[[str], tuple[Any, int]]) -> Any:
    """Return what is next in a reader's buffer, and move its position to the end of that."""
    while True:
        buffer = reader.cstringio_buf
        data = buffer.read()
        look = _look_of(reader)
        if look is not None:
            look()
        try:
            text = data.decode()
            tree, end = parse(text)
        except (JSONDecodeError, UnicodeDecodeError) as exc:
            if not _is_cut(exc):
                raise
            reader.cstringio_refill(data, len(data) + 1)
            continue
        if end < len(text):
            buffer.seek(-1, 2)  # any position before the end will do
        if '\\' in text and _has_lone_surrogates(tree, look):
            raise ValueError('half of a character in an escape')
        return tree


def _message(text: str) -> tuple[Any, int]:
    """Parse a whole message."""
    return (_parse_exactly if '-0' in text else _parse)(text)


def _exact_struct_and_end(text: str) -> tuple[Any, int]:
    """Parse a struct that may contain doubles, and the bracket that ends the message."""
    return _struct_and_end(text, _parse_exactly if '-0' in text else _parse)


def _struct_and_end(text: str, parse: Any = _parse) -> tuple[Any, int]:
    """Parse a struct and the bracket that ends the message."""
    tree, end = parse(text)
    if text[end : end + 1] != ']':
        raise JSONDecodeError('the message does not end', text, end)
    return tree, end + 1


def _is_cut(exc: JSONDecodeError | UnicodeDecodeError) -> bool:
    """Tell whether a text may be broken only because the rest of it is missing."""
    if isinstance(exc, UnicodeDecodeError):
        return exc.reason == 'unexpected end of data'
    if exc.msg.startswith('Unterminated string'):
        return True
    if exc.msg.endswith('escape') and len(exc.doc) - exc.pos < _ESCAPE:
        return True
    return bool(_CUT.fullmatch(exc.doc, exc.pos))


def _has_lone_surrogates(tree: Any, look: Look) -> bool:
    left = [tree]
    while left:
        if look is not None:
            look()
        for _ in range(min(len(left), _MANY)):
            each = left.pop()
            if isinstance(each, dict):
                left += [*each, *each.values()]
            elif isinstance(each, list):
                left += each
            elif isinstance(each, str) and _SURROGATE.search(each):
                return True
    return False


def _look_of(reader: Any) -> Look:
    """Return the function that checks the time of a reader; None if its message is small."""
    look: Look = getattr(reader, 'look', None)
    return look if look is not None and reader.cstringio_buf.tell() > _LONG else None


def _each(function: Read, values: Iterable[Any], look: Look) -> Iterable[Any]:
    """Return an iterator of a function's results."""
    return map(function, values) if look is None else _looking(function, values, look)


def _looking(function: Read, values: Iterable[Any], look: Callable[[], None]) -> Iterator[Any]:
    left = iter(values)
    while some := [*map(function, islice(left, _MANY))]:
        look()
        yield from some


def _check_type(tree: Any, expected: type) -> None:
    if type(tree) is not expected:
        raise ValueError(f'a {type(tree).__name__} where a {expected.__name__} is expected')


def _integer_writer(bits: int) -> Write:
    lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def write(value: Any) -> str:
        if not lowest <= value <= highest:
            raise OverflowError(f'{value} is out of range for {bits} bits')
        return f'{index(value):d}'

    return write


_DIGITS = frozenset('0123456789')
_NOT_FINITE = {'nan': '"NaN"', 'inf': '"Infinity"', '-inf': '"-Infinity"'}


def _write_bool(value: Any) -> str:
    return '1' if value else '0'


def _write_double(value: Any) -> str:
    text = f'{value:.17g}'
    if text[-1] in _DIGITS:
        return text
    return _NOT_FINITE[text]  # or KeyError: a complex number has such a format, too


def _write_text(value: Any) -> str:
    text = encode_basestring(value)
    if '\\u00' in text:  # for control characters, which Apache's protocol doesn't escape
        text = f'"{value.translate(_ESCAPES)}"'
    return text


def _write_binary(value: Any) -> str:
    return f'"{b64encode(value).decode()}"'


def _write_uuid(value: Any) -> str:
    return f'"{value}"'


def _integer(tree: Any) -> int:
    if type(tree) is not int:
        if type(tree) is _MinusZero:
            return 0
        raise ValueError(f'{quoted(tree)} is not an integer')
    return tree


def _text(tree: Any) -> str:
    if type(tree) is not str:
        raise ValueError(f'{quoted(tree)} is not a string')
    return tree


def _read_bool(tree: Any) -> bool:
    return _integer(tree) != 0


def _read_double(tree: Any) -> float:
    if type(tree) not in (float, int, str, _MinusZero):
        raise ValueError(f'{quoted(tree)} is not a double')
    return float(tree)


def _read_binary(tree: Any) -> bytes:
    text = _text(tree)
    return b64decode(text + '=' * (-len(text) % 4))


def _read_uuid(tree: Any) -> Any:
    from uuid import UUID

    return UUID(_text(tree))
