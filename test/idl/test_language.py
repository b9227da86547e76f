"""What the language means, where gen-py can't be asked, and what errors say."""

from __future__ import annotations

import inspect
import uuid

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from idl.oracle import CORPUS, PROTOCOLS, decoded, encoded
from thrift_client import SimpleClient, convert, errors, load


def test_keywords_get_an_underscore(write):
    """Fields, methods, arguments and members that Python couldn't have."""
    module = load(write("""
        enum Kind { None, True = 3, mro, _x_ }
        struct from { 1: i32 class, 2: string import = "x", 3: i32 self, 4: i32 class_ }
        service global { i32 lambda(1: i32 in, 2: from from), void print(), void lambda_() }
    """))
    assert module.Kind.None_ == 0
    assert module.Kind.mro_ == 4
    struct = module.from_(class_=1, self_=2)
    assert (struct.class_, struct.import_, struct.class__) == (1, 'x', None)
    assert str(inspect.signature(module.global_.Iface.lambda_)) == '(self, in_, from_)'
    assert str(inspect.signature(module.global_.Iface.lambda__)) == '(self)'
    request = TMemoryBuffer()
    module.global_.Client(TBinaryProtocol(request)).send_lambda_(1, struct)
    assert TBinaryProtocol(TMemoryBuffer(request.getvalue())).readMessageBegin()[0] == 'lambda'


#: Names that Python, its classes, the module or gen-py's classes have.
SPECIAL = [
    '__class__', '__debug__', '__dict__', '__getattr__', '__init__', '__name__', '__qualname__',
    '__slots__', '__thrift_later__', '__thrift_shape__', '__thrift_stamps__', '_NAMES_TO_VALUES',
    '_VALUES_TO_NAMES', '_missing_', 'is_current', 'mro', 'None', 'read', 'thrift_spec', 'write',
]


@pytest.mark.parametrize('text', [
    'const list<i32> {} = [1]',
    'const bool {} = true',
    'typedef i32 {}',
    'struct {} {{ 1: i32 a }}',
    'enum {} {{ A }} struct S {{ 1: {} e }}',
    'enum E {{ {} }} const E X = E.{}',
    'struct S {{ 1: i32 {} }} const S X = {{"{}": 7}}',
    'exception X {{ 1: E {} }} enum E {{ A }} service S {{ void f(1: X {}) throws (1: X {}) }}',
    'service {} {{ void {}() }}',
])
def test_names_that_python_or_the_library_uses(write, text):
    """They are changed like keywords, wherever they are."""
    for i, name in enumerate(SPECIAL):
        path = write(text.replace('{}', name).replace('{{', '{').replace('}}', '}'), f's{i}.thrift')
        module = load(path)
        assert load(path) is module
        assert module.__name__ == f's{i}_thrift'
        write(path.read_text() + ' struct New {}', path.name)
        assert load(path).New


def test_changed_names_mean_what_the_idl_says(write):
    """In constants, and where two names would be one in Python."""
    module = load(write("""
        enum Kind { None, None_, __x__, _NAMES_TO_VALUES }
        struct S { 1: i32 from, 2: i32 from_, 3: i32 __class__, 4: Kind kind }
        const S A = {"from": 1, "from_": 2, "__class__": 3, "kind": Kind._NAMES_TO_VALUES}
        const S B = {"from_": 2}
        const i32 from = 1
        const i32 from_ = 2
        const list<Kind> KINDS = [Kind.None, Kind.None_]
    """))
    assert module.S(from_=1, from__=2, __class___=3, kind=3) == module.A
    assert module.S(from__=2) == module.B
    assert convert.from_dict(module.S, {'from': 1, '__class__': 3}) == module.S(1, __class___=3)
    assert (module.from_, module.from__) == (1, 2)
    assert [module.Kind.None_, module.Kind.None__] == module.KINDS == [0, 1]


def test_what_module_attributes_are(write):
    """Typedefs are what they stand for, includes are modules, docs are kept."""
    write('struct Stamp { 1: i64 at }', 'base.shared.thrift')
    module = load(write("""
        include "base.shared.thrift"
        typedef i64 Id
        typedef list<Id> Ids
        typedef set<string> Words
        typedef map<Id, Words> Index
        typedef binary Raw
        typedef string Name
        typedef double Real
        typedef bool Flag
        typedef Color Paint
        typedef base.shared.Stamp Time
        /** The colours. */
        enum Color { /** Warm. */ RED, BLUE, /** Hot. */ HOT = 0 }
        /**
         * An order.
         *   With lines.
         */
        struct Order { 1: Id id }
        /** Sells. */
        service Shop { /** Buys. */ Order buy(1: Id id = 7, 2: string note) }
    """))
    expected = (int, list, set, dict, bytes, str, float, bool)
    names = ['Id', 'Ids', 'Words', 'Index', 'Raw', 'Name', 'Real', 'Flag']
    assert tuple(getattr(module, name) for name in names) == expected
    assert module.Paint is module.Color
    assert module.Time is module.base_shared.Stamp
    assert module.Order.__doc__ == 'An order.\nWith lines.'
    assert module.Color.__doc__ == 'The colours.'
    assert module.Color.HOT.__doc__ == module.Color.RED.__doc__ == 'Warm.'
    assert module.Shop.__doc__ == 'Sells.'
    assert module.Shop.Iface.buy.__doc__ == 'Buys.'
    assert str(inspect.signature(module.Order)) == '(id=None)'


def test_arguments_have_the_defaults_of_the_idl(write):
    """Only the last arguments have defaults, as in Python."""
    module = load(write('service S { void f(1: i32 a = 1, 2: i32 b, 3: i32 c = 3, 4: i32 d = 4) }'))
    assert str(inspect.signature(module.S.Iface.f)) == '(self, a, b, c=3, d=4)'


def test_a_default_names_a_constant(write):
    """The compiler drops such defaults of containers; here they are those of the constant."""
    module = load(write("""
        struct S { 1: list<i32> l = L, 2: list<i32> m = [ONE, E.B], 3: double d = ONE }
        const list<i32> L = [ONE, 2]
        const i32 ONE = 1
        enum E { A, B }
        const list<E> ES = [A, E.B, 7]
    """))
    one, other = module.S(), module.S()
    assert one == module.S(l=[1, 2], m=[1, 1], d=1.0)
    assert one.l is not other.l
    assert module.S(l=None).l is None
    assert module.ES == [module.E.A, module.E.B, 7]
    assert type(module.ES[2]) is int


def test_uuids(write):
    """UUIDs work if the installed thrift has them."""
    text = 'struct S { 1: uuid id, 2: map<uuid, uuid> m }\nconst uuid NIL = "{}"'
    nil = uuid.UUID(int=0)
    try:
        module = load(write(text.replace('{}', str(nil))))
    except errors.IdlError as exc:
        assert 'needs thrift 0.21' in str(exc)  # noqa: PT017
        return
    assert nil == module.NIL
    value = module.S(uuid.uuid4(), {nil: uuid.uuid4()})
    for protocol in PROTOCOLS:
        assert decoded(module.S, encoded(value.write, protocol), protocol) == value


def test_old_declarations(write):
    """What today's compiler refuses and old files have."""
    module = load(write("""
        py_module "x"
        php_namespace y
        senum Letters { "a", "b" }
        struct Lettered { 1: Letters letters, 2: slist s }
    """))
    assert module.Letters is str
    assert module.Lettered(letters='a').letters == 'a'


def test_exceptions(write):
    """Declared fields can't be set and hash; everything else is an exception's own affair."""
    module = load(write("""
        exception Bad { 1: string why, 2: i32 code = 3, 3: string args }
        exception Loose { 1: string why } (python.immutable = "false")
    """))
    bad = module.Bad('no', args='text')
    assert (bad.why, bad.code, bad.args) == ('no', 3, 'text')
    assert str(bad) == repr(bad) == "Bad(why='no', code=3, args='text')"
    with pytest.raises(TypeError, match='field why of Bad'):
        bad.why = 'yes'
    with pytest.raises(TypeError, match='immutable'):
        del bad.code
    bad.add_note('a note')
    bad.request_id = 7
    assert bad == module.Bad('no', args='text')
    assert hash(bad) == hash(module.Bad('no', args='text'))
    loose = module.Loose('no')
    loose.why = 'yes'
    assert str(loose) == "Loose(why='yes')"


def test_constants_that_cannot_be_hashed_fail_on_access(write):
    """A struct as a key is not Python's; the rest of the file is."""
    module = load(write("""
        struct P { 1: i32 x }
        const map<P, i32> M = {{"x": 1}: 2}
        const map<list<i32>, set<set<i32>>> N = {[1]: [[2], [3]]}
        struct D { 1: map<P, i32> m = {{"x": 1}: 2}, 2: i32 i = 5 }
    """))
    assert {(1,): {frozenset([2]), frozenset([3])}} == module.N
    with pytest.raises(TypeError, match='unhashable'):
        _ = module.M
    assert module.D(m={}).i == 5
    with pytest.raises(TypeError, match='unhashable'):
        module.D()
    with pytest.raises(AttributeError, match="'shop_thrift' has no attribute 'Q'"):
        _ = module.Q


def test_validate(write):
    """Required fields are checked when they are asked to be, as gen-py does it."""
    module = load(write('struct S { 1: required i32 must, 2: optional i32 may }'))
    module.S(must=0).validate()
    with pytest.raises(Exception, match='Required field must is unset!'):
        module.S().validate()


def test_extending_through_files():
    """A service has the methods of its parents in other files."""
    module = load(CORPUS / 'including.thrift')
    with SimpleClient(module.Traveller) as client:
        assert {'way', 'ping', 'route', 'both'} <= set(dir(client))


WRONG = [
    ('struct S {\n 1: i32 a\n 2 string b }', 2 + 1, "expected ':', not 'string'"),
    ('struct S { 1: strnig a }', 1, "expected a type, not 'strnig'; did you mean 'string'?"),
    ('struct S { 1: i32 a', 1, "expected '}', not the end of the file"),
    ('struct S { 1: i32 a, 1: i32 b }', 1, 'id 1 is used twice'),
    ('struct S { 1: i32 a, 2: i32 a }', 1, 'a is used twice in struct S'),
    ('struct S {\n 1: i32 a\n 1: i32 b\n 2: i32 c\n}', 3, 'id 1 is used twice in struct S'),
    ('struct S { 40000: i32 a }', 1, 'at most 32767, not 40000'),
    ('struct S {}\nstruct S {}', 2, "expected a new name, not 'S' again"),
    ('\nstruct list { 1: i32 a }', 2, "expected a new name, not Thrift's type 'list'"),
    ('typedef i32 map', 1, "expected a new name, not Thrift's type 'map'"),
    ('enum set { A }', 1, "expected a new name, not Thrift's type 'set'"),
    ('typedef string i32', 1, "expected a new name, not Thrift's type 'i32'"),
    ('struct from {}\nenum from_ {A}', 2, "'from_': in Python, it is the name of 'from'"),
    ('struct from_ {}\nservice from {}', 2, "'from': in Python, it is the name of 'from_'"),
    ('enum E { A = 3000000000 }', 1, 'within 32 bits'),
    ('enum E { A, A }', 1, 'A is used twice'),
    ('enum E {\n A,\n B,\n A\n}', 4, 'A is used twice in enum E'),
    ('const i32 X = 5\n\nconst string Y = X', 3, "expected a string, not 'X'"),
    ('const i32 X = "a"\n\nconst i32 Y = X', 1, "expected an i32, not 'a'"),
    ('const i32 Y = X\n\nconst i32 X = "a"', 3, "expected an i32, not 'a'"),
    ('const i8 X = 200', 1, 'expected a number from -128 to 127 for i8, not 200'),
    ('const i32 X = "a"', 1, "expected an i32, not 'a'"),
    ('const i32 X = Y', 1, "expected an i32 or the name of one, not 'Y'"),
    ('const i32 X = Y\nconst i32 Y = X', 2, 'its own value'),
    ('const string X = 5', 1, 'expected a string, not 5'),
    ('const list<i32> X = 5', 1, 'expected a list for list<i32>, not 5'),
    ('const string X = "\\q"', 1, 'expected one of'),
    ('const S X = {"b": 1}\nstruct S { 1: i32 a }', 1, "expected a field of S, not 'b'"),
    ('typedef T T', 1, 'is its own'),
    ('typedef U T\ntypedef list<T> U', 2, 'is its own'),
    ('struct S { 1: S s = {} }', 1, 'expected a default without S in itself'),
    ('service S extends S {}', 1, 'not to extend itself'),
    ('service S extends T {}', 1, "expected a service, not 'T'"),
    ('service S { void f() throws (1: i32 x) }', 1, 'expected an exception, not i32'),
    ('service S { oneway i32 f() }', 1, 'expected void and no exceptions'),
    ('service S { void f() void f() }', 1, 'f is used twice'),
    ('include "none.thrift"\nstruct S {}', 1, "expected the file 'none.thrift'"),
    ('include "none.thrift"', 1, "expected the file 'none.thrift', which is not in"),
    ('include "shop.thrift"', 1, 'does not include this one'),
    ('\n\n/* never ends', 3, 'the end of the comment'),
    ('const string X = "never ends', 1, 'the end of the string'),
    ('struct S { 1: i32 a = @ }', 1, "not '@ }'"),
    ('nonsense', 1, 'expected a declaration (namespace, include, const, typedef'),
    ('const i32 X = ' + '9' * 5000, 1, 'expected a number'),
    ('struct S { 1: ' + 'list<' * 100 + 'i32' + '>' * 100 + ' a }', 1, 'more than 64 levels'),
]


@pytest.mark.parametrize(('text', 'line', 'says'), WRONG, ids=range(len(WRONG)))
def test_errors_say_where_and_what_was_expected(write, text, line, says):
    """The file, the line, and what was expected there."""
    path = write(text)
    with pytest.raises(errors.IdlError) as caught:
        load(path)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.file, error.line) == (str(path), line)
    assert str(error).startswith(f'{path}:{line}: ')
    assert says in str(error)


def test_an_included_constant_of_another_type_is_a_mistake_where_it_is_named(write):
    """The included file has none."""
    write('\n\nconst i32 X = 5', 'base.thrift')
    path = write('include "base.thrift"\nstruct S {\n 1: string s = base.X\n}')
    with pytest.raises(errors.IdlError, match=r"expected a string, not 'base\.X'") as caught:
        load(path)
    assert (caught.value.file, caught.value.line) == (str(path), 3)


def test_an_enum_without_members(write):
    """Every number is a plain int, as one that the IDL doesn't define."""
    module = load(write('enum None_ {}\nstruct S { 1: None_ a = 5, 2: list<None_> b }'))
    value = module.S(b=[6])
    assert convert.to_dict(value) == {'a': 5, 'b': [6]}
    assert convert.from_json(module.S, convert.to_json(value)) == value


def test_an_error_in_an_included_file_names_that_file(write):
    """The line is that of the included file."""
    base = write('struct S {', 'base.thrift')
    with pytest.raises(errors.IdlError) as caught:
        load(write('include "base.thrift"'))
    assert caught.value.file == str(base)


@pytest.mark.parametrize('text', [
    '\n'.join(f'const list<list<i32>> A{i} = [[1]]' for i in range(2))
    + ''.join(f'\ntypedef map<i32, list<T{i}>> T{i + 1}' for i in range(40)).replace('T0', 'i32'),
    'typedef i32 T0\n' + '\n'.join(f'typedef map<T{i},T{i}> T{i + 1}' for i in range(40)),
    'const list<i32> A0 = [1]\ntypedef list<i32> T0\n' + '\n'.join(
        f'typedef list<T{i}> T{i + 1}\nconst T{i + 1} A{i + 1} = [A{i}, A{i}]' for i in range(40)
    ),
    'struct S0 { 1: i32 x }\n' + '\n'.join(
        f'struct S{i + 1} {{ 1: S{i} a = {{}}, 2: S{i} b = {{}} }}' for i in range(40)
    ),
    '\n'.join(f'const i32 A{i} = A{i + 1}' for i in range(3000)) + '\nconst i32 A3000 = 1',
])
def test_small_texts_do_not_grow(write, text):
    """What names itself twice at each step is refused before it fills the memory."""
    try:
        load(write(text))
    except errors.IdlError as exc:
        assert 'at most' in str(exc) or 'depend less' in str(exc)  # noqa: PT017
