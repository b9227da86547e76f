"""What gen-py makes of an IDL, and the means to compare it with what `load` makes."""

from __future__ import annotations

import importlib
import inspect
import itertools
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TFrozenDict, TType
from thrift.transport.TTransport import TMemoryBuffer

PROTOCOLS = [
    TBinaryProtocolAccelerated,
    TCompactProtocolAccelerated,
    TBinaryProtocol,
    TCompactProtocol,
    TJSONProtocol,
]
CORPUS = Path(__file__).parent / 'corpus'
FILES = sorted(CORPUS.glob('*.thrift'))

_count = itertools.count()


class Generated:
    """gen-py of a file and of what it includes, imported."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._package = f'compiled_{next(_count)}'
        out = folder / self._package
        out.mkdir()
        (out / '__init__.py').touch()
        options = f'py:package_prefix={self._package}.'
        command = ['thrift', '-nowarn', '-r', '-out', str(out), '--gen', options, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert not done.returncode, done.stdout + done.stderr
        for deep in {path.parent for path in out.rglob('*.py')} | {*out.glob('*')}:
            if deep.is_dir():
                (deep / '__init__.py').touch()
        sys.path.insert(0, str(folder))
        try:
            self.modules = self._import(out)
        finally:
            sys.path.remove(str(folder))

    def _import(self, out: Path) -> dict[str, object]:
        found = {}
        importlib.invalidate_caches()
        for path in sorted(out.rglob('*.py')):
            if path.stem != '__init__' and not path.stem.endswith('-remote'):
                name = '.'.join(path.relative_to(out.parent).with_suffix('').parts)
                found[name] = importlib.import_module(name)
        return found

    def named(self, name: str) -> dict[str, object]:
        """The modules of that name, `ttypes`, `constants` or a service's, by their packages."""
        return {
            key.rpartition('.')[0].partition('.')[2]: module
            for key, module in self.modules.items()
            if key.rpartition('.')[2] == name
        }

    def forget(self) -> None:
        """Take the modules out of `sys.modules`."""
        for name in [*sys.modules]:
            if name.partition('.')[0] == self._package:
                del sys.modules[name]


def encoded(write, make_protocol):
    """The bytes that `write(protocol)` writes."""
    buffer = TMemoryBuffer()
    write(make_protocol(buffer))
    return buffer.getvalue()


def decoded(cls, data, make_protocol):
    """What a class reads from bytes, frozen or not."""
    protocol = make_protocol(TMemoryBuffer(data))
    if inspect.ismethod(cls.read):
        return cls.read(protocol)
    instance = cls()
    cls.read(instance, protocol)
    return instance


def plain(value):
    """A value without the classes that gen-py and `load` have different ones of."""
    if getattr(type(value), 'thrift_spec', None) is not None or hasattr(value, 'validate'):
        fields = vars(value)
        return type(value).__name__, {name: plain(each) for name, each in fields.items()}
    if isinstance(value, dict):
        return 'dict', sorted(((plain(k), plain(v)) for k, v in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return 'set', sorted(map(plain, value), key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return int(value) if isinstance(value, IntEnum) else value


def values(type_, depth=0):
    """A strategy for values of a type of a loaded module.

    Sets and maps have one element at most: the order of more is not the same in every set.
    """
    if type_.enum is not None:
        return st.sampled_from([*type_.enum, 77]) if [*type_.enum] else st.just(77)
    if type_.shape is not None:
        return structs(type_.shape.cls, depth + 1)
    if type_.code == TType.MAP:
        if not can_be_key(type_.key):
            return st.just({})
        made = st.dictionaries(
            values(type_.key, depth + 1), values(type_.value, depth + 1), max_size=1
        )
        return made.map(TFrozenDict) if type_.frozen else made
    if type_.code == TType.SET:
        if not can_be_key(type_.value):
            return st.just(set())
        made = st.frozensets if type_.frozen else st.sets
        return made(values(type_.value, depth + 1), max_size=1)
    if type_.code == TType.LIST:
        made = st.lists(values(type_.value, depth + 1), max_size=2)
        return made.map(tuple) if type_.frozen else made
    return _SCALARS[type_.code](type_)


def can_be_key(type_):
    """Whether values of a type can be hashed."""
    if type_.shape is not None:
        frozen = type_.shape.cls.__hash__ is not None
        return frozen and all(can_be_key(field.type) for field in type_.shape.fields)
    if type_.inner:
        return type_.frozen and all(map(can_be_key, type_.inner))
    return True


def structs(cls, depth=0):
    """A strategy for instances of a loaded class; deep ones are empty."""
    fields = cls.__thrift_shape__.fields if depth < 3 else ()
    given = {field.name: st.none() | values(field.type, depth) for field in fields}
    return st.fixed_dictionaries({}, optional=given).map(lambda fields: cls(**fields))


def _integers(bits):
    return lambda _: st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _strings(type_):
    if type_.binary:
        return st.binary(max_size=9)
    return st.text(st.characters(exclude_categories=['Cs']), max_size=9)


_SCALARS = {
    TType.BOOL: lambda _: st.booleans(),
    TType.I08: _integers(8),
    TType.I16: _integers(16),
    TType.I32: _integers(32),
    TType.I64: _integers(64),
    TType.DOUBLE: lambda _: st.floats(allow_nan=False, allow_infinity=False),
    TType.STRING: _strings,
    16: lambda _: st.uuids(),
}


def as_generated(type_, value, classes):
    """The same value with gen-py's structs; `classes` are those by name."""
    if value is None:
        return None
    if type_.shape is not None:
        cls = classes[type_.shape.name]
        return cls(**{
            field.name: as_generated(field.type, getattr(value, field.name), classes)
            for field in type_.shape.fields
        })
    if type_.code == TType.MAP:
        return type(value)({
            as_generated(type_.key, k, classes): as_generated(type_.value, v, classes)
            for k, v in value.items()
        })
    if type_.inner:
        return type(value)(as_generated(type_.value, each, classes) for each in value)
    return int(value) if type_.enum is not None else value
