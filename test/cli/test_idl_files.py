"""Services straight from .thrift files: finding, describing and checking them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import thrift_client
from rich_if import ttypes
from thrift_client import testing

SHOP = """\
include "money.thrift"

/** The state of an order. */
enum Status {
  OPEN = 1,
  /** With the customer. */
  SENT = 2
}
struct Unused { 1: i32 number }

union Payment { 1: string card, 2: i64 voucher }

/** What somebody bought. */
struct Order {
  1: required i64 id,
  2: optional Status status,
  /** How it was paid. */
  3: Payment payment,
  4: money.Currency currency = money.Currency.USD,
}

service Orders {
  /** Takes an order. */
  Order place(1: Order order)
}
service Stats { i32 count() }
"""
MONEY = 'enum Currency { EUR = 1, USD = 2 }\n'


@pytest.fixture
def shop(tmp_path):
    """Write a file with two services and one that it includes from another folder."""
    (tmp_path / 'idl').mkdir()
    (tmp_path / 'idl' / 'money.thrift').write_text(MONEY)
    (tmp_path / 'shop.thrift').write_text(SHOP)
    return 'shop.thrift'


def test_services_are_listed_chosen_and_suggested(cli, shop, tmp_path):
    """All of a file by `list`, one by name; what is missing is said with what was looked for."""
    inside = ('-I', 'idl')
    listed = cli('list', '-s', shop, *inside).stdout
    assert 'service Orders\n  Order place(1: Order order)\n\nservice Stats\n  i32 count()' in listed
    assert json.loads(cli('list', '-s', shop, *inside, '--json').stdout) == [
        'Orders.place', 'Stats.count',
    ]  # fmt: skip
    assert cli('list', '-s', f'{shop}:Stats', *inside).stdout == 'i32 count()\n'
    assert 'shop.thrift\n' in cli('list', env={'PYTHONPATH': ''}).stdout
    for arguments, said in (
        (('list', '-s', shop), '-I names a folder'),
        (('describe', '-s', shop, *inside), 'choose one of shop.thrift:Orders, shop.thrift:Stats'),
        (('describe', '-s', f'{shop}:Order', *inside), "did you mean 'Orders'?"),
        (('describe', '-s', 'shop'), "did you mean 'shop.thrift'?"),
    ):
        done = cli(*arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    (tmp_path / shop).unlink()
    nothing = cli('list', env={'PYTHONPATH': ''})
    assert nothing.returncode == 2
    assert 'Looked for gen-py modules in gen-py and for .thrift files' in nothing.stderr


def test_types_are_described_as_the_idl_has_them(cli, shop):
    """Required and optional, enums by name, docs, a union's skeleton of one member; by name."""
    target = ('-s', f'{shop}:Orders', '-I', 'idl')
    assert cli('describe', *target, 'Order').stdout.splitlines() == [
        'struct Order {',
        '  // What somebody bought.',
        '  1: required i64 id',
        '  2: optional Status status',
        '  // How it was paid.',
        '  3: Payment payment',
        '  4: money.Currency currency = money.Currency.USD',
        '}',
        '{"id": 0, "status": "OPEN", "payment": {"card": ""}, "currency": "USD"}',
    ]
    assert cli('describe', *target, 'Status').stdout.splitlines() == [
        'enum Status {',
        '  // The state of an order.',
        '  OPEN = 1',
        '  // With the customer.',
        '  SENT = 2',
        '}',
    ]
    assert cli('describe', *target, 'Unused').stdout.startswith('struct Unused {\n  1: i32 number')
    text = cli('describe', *target, 'place').stdout
    assert text.startswith('Order place(1: Order order)\n  Takes an order.\n')
    assert max(map(len, text.splitlines())) <= 80
    done = cli('describe', *target, 'Ordr')
    assert "did you mean 'Order'?" in done.stderr


@pytest.mark.parametrize(
    ('order', 'said'),
    [
        ('{"id": 1, "status": "USD"}', "order.status: Status has no member 'USD'"),
        ('{"status": "OPEN"}', "order: Order needs 'id', which is required"),
        ('{"id": 1, "payment": {}}', 'order.payment: the union Payment takes exactly one member'),
        (
            '{"id": 1, "payment": {"card": "", "voucher": 1}}',
            'order.payment: the union Payment takes exactly one member, not card, voucher',
        ),
        ('{"id": 1, "stat": 1}', "order: Order has no field 'stat'; did you mean 'status'?"),
    ],
)
def test_what_the_idl_refuses_is_not_sent(cli, shop, order, said):
    """Nobody listens at the address: the error is about the argument all the same."""
    target = ('-s', f'{shop}:Orders', '-I', 'idl', '-a', 'localhost:1')
    done = cli('call', *target, 'place', f'[{order}]')
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_with_gen_py_an_ambiguous_member_is_refused_with_the_ways_out(rich, monkeypatch):
    """gen-py of old compilers doesn't say which enum a field has."""
    other = type('Light', (), {'_NAMES_TO_VALUES': {'RED': 9}, '_VALUES_TO_NAMES': {9: 'RED'}})
    monkeypatch.setitem(sys.modules, 'other.ttypes', SimpleNamespace(Light=other))
    assert ttypes.Color.RED == 1
    done = rich('call', 'color', 'RED')
    assert done.returncode == 2
    assert "value: expected i32, not 'RED': it may be Color.RED or Light.RED" in done.stderr
    assert 'write the number, or load the .thrift file' in done.stderr
    idl = Path(__file__).parents[1] / 'rich.thrift'
    assert rich('call', '-s', str(idl), 'color', 'RED').stdout == '1\n'


@pytest.mark.parametrize('name', ['validate', 'read', 'write', 'thrift_spec'])
def test_a_field_may_have_the_name_of_a_method(cli, tmp_path, name):
    """The methods that each struct has: in an argument's struct, as an argument, as a member."""
    idl = tmp_path / f'{name}_names.thrift'
    idl.write_text(
        f'struct Options {{ 1: string {name}, 2: required i32 must }}\n'
        f'exception Refused {{ 1: string {name} }}\n'
        f'union Choice {{ 1: string {name} }}\n'
        f'service Loader {{ Options put(1: Options options) throws (1: Refused {name}),\n'
        f'  Choice choose(1: Choice choice), string {name}(1: string {name}) }}'
    )
    module = thrift_client.load(idl)

    class Handler:
        def put(self, options):
            if options.must == 0:
                raise module.Refused('no')
            return options

        def choose(self, choice):
            return choice

        def __getattr__(self, name):
            return lambda text: text

    with testing.serve(module.Loader, Handler()) as server:
        target = ('-s', idl.name)
        call = ('call', *target, '-a', server.address, '--json')
        options = {'options': {name: 'x', 'must': 1}}
        for method, given, returned in (
            ('put', options, options['options']),
            ('choose', {'choice': {name: 'x'}}, {name: 'x'}),
            (name, {name: 'x'}, 'x'),
        ):
            done = cli(*call, method, json.dumps(given))
            assert (done.returncode, done.stderr) == (0, '')
            assert json.loads(done.stdout) == returned
        done = cli(*call, 'put', '{"options": {"must": 0}}')
        assert f'Refused: {{"{name}": "no"}}' in done.stderr
        done = cli(*call, 'put', '{"options": {}}')
        assert "options: Options needs 'must', which is required" in done.stderr
        typed = f'{name} x\n{name} y\n'
        assert cli('shell', *target, '-a', server.address, stdin=typed).stdout == '"x"\n"y"\n'
    done = cli('describe', *target, 'Options')
    assert f'  1: string {name}\n  2: required i32 must' in done.stdout
    done = cli('stubs', idl.name)
    assert (done.returncode, done.stderr) == (0, '')
    stub = (tmp_path / f'{name}_names_thrift' / '__init__.pyi').read_text()
    assert (stub.count(f'\n    {name}: '), f'def {name}(' in stub) == (3, False)


def test_a_required_argument_is_named_with_its_method(cli, tmp_path):
    """Not with the struct that holds the arguments, which users don't know."""
    (tmp_path / 'kv.thrift').write_text('service KV { void put(1: i32 a, 2: required i32 b) }')
    done = cli('call', '-s', 'kv.thrift', '-a', 'localhost:1', 'put', '{"a": 1}')
    assert done.stderr == "Error: put needs 'b', which is required\n"
    done = cli('call', '-s', 'kv.thrift', '-a', 'localhost:1', 'put', '{"c": 1}')
    assert done.stderr.startswith("Error: put has no argument 'c'")


def test_an_argument_given_by_both_names_is_refused(cli, tmp_path):
    """The error has the method, too, not the struct that holds its arguments."""
    (tmp_path / 'kv.thrift').write_text('service KV { void put(1: i32 class) }')
    twice = '{"class": 1, "class_": 2}'
    done = cli('call', '-s', 'kv.thrift', '-a', 'localhost:1', 'put', twice)
    assert done.stderr == "Error: put: the argument 'class_' is given twice\n"


KEYWORDS = """\
include "home.thrift"
include "work.thrift"
enum Color { RED, GREEN }
service Names {
  void del(/** Which one. */ 1: required string key, 2: optional Color color = Color.GREEN)
    throws (1: work.Failed failed)
  home.Item move(1: list<work.Item> items)
}
"""


@pytest.fixture
def names(tmp_path):
    """Write a file with a method that Python can't have, and two includes with the same names."""
    home = 'struct Item { 1: i32 room } struct Only { 1: Item item }'
    (tmp_path / 'home.thrift').write_text(home)
    (tmp_path / 'work.thrift').write_text('struct Item { 1: i32 desk } exception Failed {}')
    (tmp_path / 'names.thrift').write_text(KEYWORDS)
    return 'names.thrift'


def test_arguments_are_described_as_the_idl_has_them(cli, names):
    """Required and optional, with their docs; the method is found by its name in the IDL."""
    for name in ('del', 'Names.del', 'del_'):
        assert cli('describe', '-s', names, name).stdout.splitlines()[:5] == [
            'void del(',
            '    // Which one.',
            '    1: required string key,',
            '    2: optional Color color = Color.GREEN,',
            ') throws (1: work.Failed failed)',
        ]
    assert cli('list', '-s', names, '--json').stdout == '[\n  "del",\n  "move"\n]\n'
    found = json.loads(cli('describe', '-s', names, '--json', 'del').stdout)[0]
    assert found['method'] == 'del'
    assert found['arguments'][0] == {
        'id': 1, 'name': 'key', 'type': 'string', 'doc': 'Which one.', 'required': True,
    }  # fmt: skip
    done = cli('call', '-s', names, '-a', '127.0.0.1:1', '--timeout', '1s', 'del', 'k')
    assert (done.returncode, 'del_ on 127.0.0.1:1' in done.stderr) == (3, True), done.stderr


def test_fields_are_described_by_their_names_in_the_idl(cli, tmp_path):
    """Also where Python needs another name; a call takes both."""
    (tmp_path / 'words.thrift').write_text(
        'struct S { 1: i32 lambda }\nservice K { i32 get(1: S s, 2: i32 from) }\n'
    )
    shown = cli('describe', '-s', 'words.thrift').stdout
    assert shown.startswith('i32 get(1: S s, 2: i32 from)\n  struct S {\n    1: i32 lambda\n')
    found = json.loads(cli('describe', '-s', 'words.thrift', '--json', 'get').stdout)[0]
    assert [argument['name'] for argument in found['arguments']] == ['s', 'from']
    data = json.dumps({'s': {'lambda': 1}, 'from': 2})
    done = cli('call', '-s', 'words.thrift', '-a', '127.0.0.1:1', 'get', '--data', data)
    assert done.returncode == 3, done.stderr  # not refused before it connects


def test_flags_take_names_of_the_idl(cli, tmp_path):
    """As signatures and skeletons show them; those of Python, too."""
    (tmp_path / 'flags.thrift').write_text(
        'struct S { 1: i32 lambda }\n'
        'service K { i32 from(1: string class, 2: S s), i32 del(1: i32 class_) }\n'
    )
    servers = ('-a', 'one=127.0.0.1:1', '-a', 'two=127.0.0.1:2')
    target = ('-s', 'flags.thrift', *servers)
    skeleton = '{"class": "", "s": {"lambda": 0}}'
    assert skeleton in cli('describe', '-s', 'flags.thrift', 'from').stdout
    done = cli('call', *target, 'from')
    assert done.stderr == f"Error: from_ needs 'class', 's': {skeleton}\n"
    for key in ('class', 'class_'):
        done = cli('route', *target, '--key', key, 'from', '{"class": "x", "s": {"lambda": 0}}')
        assert (done.returncode, "'x'" in done.stdout) == (0, True), done.stderr
    done = cli('route', *target, '--key', 'clas', 'from', skeleton)
    assert "from_ has no argument 'clas' (it has class, s)" in done.stderr
    for name in ('from', 'from_'):
        flags = ('--idempotent', name, '--timeouts', f'{name}=5s')
        done = cli('call', *target, *flags, 'from', skeleton)
        assert done.returncode == 3, done.stderr  # not refused before it connects
    for key in ('class', 'class_'):
        done = cli('shell', *target, '--key', key, stdin=f'from {skeleton}\n')
        assert done.returncode == 3, done.stderr


def test_members_are_described_by_their_names_in_the_idl(cli, tmp_path):
    """Also if two have one number, with the docs of each; a call takes Python's names, too."""
    (tmp_path / 'kinds.thrift').write_text(
        'enum Kind { /** One. */ from = 1, /** Alias. */ as = 1, in = 2 }\n'
        'struct S { 1: Kind kind = Kind.in }\nservice K { Kind get(1: S s) }\n'
    )
    target = ('-s', 'kinds.thrift')
    assert cli('describe', *target, 'Kind').stdout.splitlines() == [
        'enum Kind {', '  // One.', '  from = 1', '  // Alias.', '  as = 1', '  in = 2', '}',
    ]  # fmt: skip
    assert json.loads(cli('describe', *target, '--json', 'Kind').stdout) == [
        {
            'type': 'Kind', 'kind': 'enum', 'doc': None,
            'members': {'from': 1, 'as': 1, 'in': 2}, 'docs': {'from': 'One.', 'as': 'Alias.'},
        }
    ]  # fmt: skip
    assert cli('describe', *target, 'S').stdout.splitlines()[1:] == [
        '  1: Kind kind = Kind.in', '}', '{"kind": "in"}',
    ]  # fmt: skip
    for name in ('in', 'in_', 'Kind.in'):
        given = json.dumps({'s': {'kind': name}})
        assert cli('call', *target, '-a', '127.0.0.1:1', 'get', given).returncode == 3


def test_types_of_one_name_are_told_apart_by_their_files(cli, names):
    """As the IDL does; a name that only one file has needs no file."""
    text = cli('describe', '-s', names, 'move').stdout
    assert text.startswith('home.Item move(1: list<work.Item> items)\n  struct home.Item {\n')
    assert '  struct work.Item {\n    1: i32 desk\n' in text
    assert '1: i32 desk' in cli('describe', '-s', names, 'work.Item').stdout
    assert '1: Item item' in cli('describe', '-s', names, 'Only').stdout
    done = cli('describe', '-s', names, 'Item')
    assert (done.returncode, done.stdout) == (2, '')
    assert "'Item' is in several files: use home.Item or work.Item" in done.stderr
    structs = json.loads(cli('describe', '-s', names, '--json', 'move').stdout)[0]['structs']
    assert list(structs) == ['home.Item', 'work.Item']


@pytest.mark.parametrize('first', ['left/common.thrift', 'mid.thrift'])
def test_types_of_files_of_one_name_are_told_apart(cli, tmp_path, first):
    """A name is that of the file that is included; the other's has its folder, too."""
    for folder, member in (('left', 'X'), ('right', 'Y')):
        (tmp_path / folder).mkdir()
        text = f'enum Kind {{ {member} = 1 }} struct {member} {{ 1: Kind kind }}'
        (tmp_path / folder / 'common.thrift').write_text(text)
    mid = 'include "right/common.thrift"\nstruct M { 1: common.Y y, 2: common.Kind kind }'
    (tmp_path / 'mid.thrift').write_text(mid)
    service = 'service Main { mid.M get(1: common.X x, 2: common.Kind kind) }'
    includes = f'include "{first}"\ninclude "left/common.thrift"\ninclude "mid.thrift"\n'
    (tmp_path / 'main.thrift').write_text(includes + service)
    target = ('-s', 'main.thrift')
    text = cli('describe', *target).stdout
    assert '  enum common.Kind {\n    X = 1\n' in text
    assert '  enum right/common.Kind {\n    Y = 1\n' in text
    assert '    1: common.Y y\n    2: right/common.Kind kind\n' in text
    assert '  X = 1' in cli('describe', *target, 'common.Kind').stdout
    assert '  Y = 1' in cli('describe', *target, 'right/common.Kind').stdout
    done = cli('describe', *target, 'Kind')
    assert 'use common.Kind or right/common.Kind' in done.stderr
    (found,) = json.loads(cli('describe', *target, '--json').stdout)
    assert found['enums'] == {'right/common.Kind': {'Y': 1}, 'common.Kind': {'X': 1}}


def test_a_skeleton_has_a_limited_size(cli, tmp_path):
    """Each level of these structs is twice as large; `call` accepts what is shown of them."""
    levels = [f'struct S{n} {{ 1: S{n + 1} a, 2: S{n + 1} b }}' for n in range(40)]
    levels += ['struct S40 { 1: i32 x }', 'service Deep { void put(1: S0 s) }']
    (tmp_path / 'deep.thrift').write_text('\n'.join(levels))
    (found,) = json.loads(cli('describe', '-s', 'deep.thrift', '--json').stdout)
    assert list(found['structs']) == [f'S{n}' for n in range(41)]
    shown = json.dumps(found['skeleton'])
    assert 100 < shown.count('{') < 600
    target = ('-s', 'deep.thrift', '-a', '127.0.0.1:1', '--timeout', '1s')
    assert cli('call', *target, 'put', shown).returncode == 3
    assert len(cli('call', *target, 'put').stderr) < 10_000
