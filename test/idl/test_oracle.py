"""What `load` makes of a file does what gen-py of the same file does."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol

from idl.oracle import (
    FILES,
    PROTOCOLS,
    Generated,
    as_generated,
    decoded,
    encoded,
    plain,
    structs,
)
from idl.random_idls import idls
from thrift_client import load

FEW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def loaded_modules(module):
    """A module and those that it includes, by the names of their packages in gen-py."""
    program = module.__thrift_program__
    found = {program.path: module}
    for name in dir(module):
        inner = getattr(module, name)
        if hasattr(inner, '__thrift_program__'):
            found |= loaded_modules(inner)
    return found


def structs_of(module):
    """The struct classes that a module declares."""
    return [
        cls for name in dir(module)
        if isinstance(cls := getattr(module, name), type)
        and hasattr(cls, '__thrift_shape__')
        and cls.__module__ == module.__name__
    ]


def services_of(module):
    """The services that a module declares."""
    return [s for name in dir(module) if hasattr(s := getattr(module, name), 'Iface')]


def classes_by_name(compiled):
    """All structs of gen-py by name; the corpus has no two of one name."""
    return {
        name: cls
        for ttypes in compiled.named('ttypes').values()
        for name, cls in vars(ttypes).items()
        if isinstance(cls, type)
    }


def check_class(loaded, generated, classes, examples=FEW):
    """Compare a class with gen-py's: defaults, equal bytes, and reading them."""
    shape = loaded.__thrift_shape__
    # gen-py of structs without ids drives the C extension with an empty spec: nothing is written.
    protocols = [each for each in PROTOCOLS if shape.spec is not None or each is TBinaryProtocol]
    assert plain(loaded()) == plain(generated())
    if shape.spec is not None:
        assert _by_name(loaded.thrift_spec) == _by_name(generated.thrift_spec)

    @examples
    @given(structs(loaded))
    def check(value):
        reference = generated(**{
            field.name: as_generated(field.type, getattr(value, field.name), classes)
            for field in shape.fields
        })
        read = set()
        for protocol in protocols:
            data = encoded(partial(loaded.write, value), protocol)
            assert data == encoded(partial(generated.write, reference), protocol)
            again = decoded(loaded, data, protocol)
            assert plain(again) == plain(decoded(generated, data, protocol))
            read.add(repr(again))
        assert len(read) == 1  # members of enums in all protocols, if in one

    check()


def _by_name(spec):
    """A `thrift_spec` with the names of classes in place of them, without defaults."""
    if isinstance(spec, list):
        return spec[0].__name__
    if isinstance(spec, tuple):
        if len(spec) == 5 and isinstance(spec[2], str):
            spec = spec[:4]
        return tuple(map(_by_name, spec))
    return spec


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_every_struct_is_that_of_gen_py(file, generated):
    """Defaults, specs, and the bytes of random values in five protocols."""
    compiled = generated(file)
    classes = classes_by_name(compiled)
    compared = 0
    for module in loaded_modules(load(file)).values():
        for cls in structs_of(module):
            check_class(cls, classes[cls.__name__], classes)
            compared += 1
    assert compared


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_every_method_is_that_of_gen_py(file, generated):
    """The classes of arguments and results, and whole messages of the client."""
    compiled = generated(file)
    classes = classes_by_name(compiled)
    for module in loaded_modules(load(file)).values():
        for service in services_of(module):
            (reference,) = compiled.named(service.__name__.rpartition('.')[2]).values()
            functions = [name for name in vars(reference.Iface) if not name.startswith('_')]
            assert [n for n in vars(service.Iface) if not n.startswith('_')] == functions
            for name in functions:
                for kind in ('args', 'result'):
                    theirs = getattr(reference, f'{name}_{kind}', None)
                    ours = getattr(service, f'{name}_{kind}', None)
                    assert (ours is None) == (theirs is None)
                    if ours is not None:
                        check_class(ours, theirs, classes, settings(FEW, max_examples=4))
                check_request(service, reference, name)


def check_request(service, reference, name):
    """The request of the generated client, without arguments."""
    count = getattr(reference.Iface, name).__code__.co_argcount - 1

    def request(module):
        return encoded(
            lambda protocol: getattr(module.Client(protocol), f'send_{name}')(*[None] * count),
            TBinaryProtocol,
        )

    assert request(service) == request(reference)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_every_constant_is_that_of_gen_py(file, generated):
    """The constants of the file and of what it includes."""
    compiled = generated(file)
    theirs = [vars(module) for module in compiled.named('constants').values()]
    for module in loaded_modules(load(file)).values():
        for name in module.__thrift_program__.consts:
            (reference,) = [each[name] for each in theirs if name in each]
            assert plain(getattr(module, name)) == plain(reference)


def test_random_idls(tmp_path):
    """Structs, enums, typedefs and a service that nobody thought of."""

    @settings(FEW, max_examples=10)
    @given(idls(), st.data())
    def check(text, data):
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        folder.mkdir()
        file = folder / 'random.thrift'
        file.write_text(text)
        compiled = Generated(file, folder)
        try:
            classes = classes_by_name(compiled)
            module = load(file)
            for cls in structs_of(module):
                check_class(cls, classes[cls.__name__], classes, settings(FEW, max_examples=3))
            for service in services_of(module):
                (reference,) = compiled.named(service.__name__.rpartition('.')[2]).values()
                for name in vars(reference.Iface):
                    if not name.startswith('_'):
                        check_request(service, reference, name)
        finally:
            compiled.forget()

    check()
