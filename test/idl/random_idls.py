"""IDLs at random, as Hypothesis strategies."""

from hypothesis import strategies as st

_BASE = ['bool', 'byte', 'i8', 'i16', 'i32', 'i64', 'double', 'string', 'binary']
_KEYS = ['bool', 'i16', 'i32', 'i64', 'string', 'binary']
_DEFAULTS = {
    'bool': ['true', 'false', '1'],
    'byte': ['-5', '0x7'],
    'i8': ['7'],
    'i16': ['-300'],
    'i32': ['70000', 'E0.A'],
    'i64': ['9000000000'],
    'double': ['1.5', '2', '-1e-3'],
    'string': ['"text"', "'a \"quote\"'", '"\\n"'],
    'E0': ['E0.A', 'E0.B', '3'],
}


@st.composite
def idls(draw):
    """The text of a file with enums, typedefs, structs and a service."""
    lines = ['namespace py random_idl', 'enum E0 { A = 1, B, C = 0x10 }']
    names = ['E0']
    for i in range(draw(st.integers(0, 3))):
        lines.append(f'typedef {draw(types(names))} T{i}')
        names.append(f'T{i}')
    structs = [f'S{i}' for i in range(draw(st.integers(1, 4)))]
    for name in structs:
        kind = draw(st.sampled_from(['struct', 'struct', 'union', 'exception']))
        fields = draw(field_lists([*names, *structs[: structs.index(name)]], kind))
        lines.append(f'{kind} {name} {{ {fields} }}')
    lines.append('exception Failed { 1: string why }')
    functions = draw(st.lists(methods([*names, *structs]), max_size=4))
    body = '\n'.join(f'  {each.format(name=f"m{i}")}' for i, each in enumerate(functions))
    return '\n'.join([*lines, f'service Random {{\n{body}\n}}'])


def types(names):
    """A type made of base types and names."""
    simple = st.sampled_from([*_BASE, *names])
    keys = st.sampled_from([*_KEYS, 'E0'])
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            inner.map('list<{}>'.format),
            keys.map('set<{}>'.format),
            st.tuples(keys, inner).map(lambda pair: 'map<{},{}>'.format(*pair)),
        ),
        max_leaves=4,
    )


@st.composite
def field_lists(draw, names, kind='struct'):
    """Fields with ids in any order, some with defaults."""
    ids = draw(st.lists(st.integers(1, 40), unique=True, max_size=5))
    fields = []
    for i, number in enumerate(ids):
        type_ = draw(types(names))
        word = '' if kind == 'union' else draw(st.sampled_from(['', '', 'optional ', 'required ']))
        default = ''
        if type_ in _DEFAULTS and kind == 'struct' and draw(st.booleans()):
            default = f' = {draw(st.sampled_from(_DEFAULTS[type_]))}'
        end = draw(st.sampled_from([',', ';', '']))
        fields.append(f'{number}: {word}{type_} f{i}{default}{end}')
    return ' '.join(fields)


@st.composite
def methods(draw, names):
    """A method; its name is put in later."""
    arguments = draw(field_lists(names, 'arguments')).replace('required ', '')
    arguments = arguments.replace('optional ', '')
    if draw(st.integers(0, 4)) == 0:
        return f'oneway void {{name}}({arguments})'
    returns = draw(st.just('void') | types(names))
    throws = draw(st.sampled_from(['', ' throws (1: Failed failed)']))
    return f'{returns} {{name}}({arguments}){throws}'
