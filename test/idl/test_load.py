"""Where files are found, when they are loaded again, and how pickles find them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import thriftpy2

from thrift_client import SimpleClient, errors, load

SHOP = """
enum Kind { BOOK = 1 }
struct Item { 1: string name, 2: Kind kind = Kind.BOOK, 3: list<Item> parts }
exception SoldOut { 1: Item item }
service Shop { Item buy(1: string name) throws (1: SoldOut sold_out) }
"""


def test_the_same_file_is_the_same_module(write, tmp_path, monkeypatch):
    """A file is one module by any path; other folders or another name make another one."""
    path = write(SHOP)
    module = load(path)
    assert load(str(path)) is module
    monkeypatch.chdir(tmp_path)
    assert load('shop.thrift') is module
    assert sys.modules['shop_thrift'] is module
    assert module.__name__ == 'shop_thrift'
    named = load(path, module_name='tests_own_shop')
    assert named is not module
    assert sys.modules['tests_own_shop'] is named
    assert named.Item.__module__ == 'tests_own_shop'


def test_another_name_is_another_module(write):
    """Whichever is loaded first, also where the one name begins with the other."""
    path = write(SHOP, 'named.thrift')
    first = load(path, module_name='named_thrift_v1')
    module = load(path)
    assert module is not first
    assert sys.modules['named_thrift'] is module
    assert load(path, module_name='named_thrift') is module
    assert load(path, module_name='named_thrift_v1') is first


def test_files_that_include_one_file_share_its_module(write):
    """Also after it has changed, and under a name of its own."""
    base = write('struct Base { 1: i32 a }', 'shared.thrift')
    paths = [
        write('include "shared.thrift"\nstruct Has { 1: shared.Base base }', f'{name}.thrift')
        for name in ('one', 'two')
    ]
    named = load(base, module_name='tests_own_base')
    assert [load(path).shared for path in paths] == [named, named]
    write('struct Base { 1: i32 a, 2: i32 bee }', 'shared.thrift')
    one, two = map(load, paths)
    assert one.shared is two.shared is load(base)
    assert load(paths[0]) is one


def test_a_missing_file(tmp_path):
    """Python's own error for it; a folder is not a file, either."""
    for path in (tmp_path / 'none.thrift', tmp_path):
        with pytest.raises(FileNotFoundError):
            load(path)


def test_include_dirs_is_a_list(write, tmp_path):
    """A text is answered with what it was meant for: as in thriftpy2, a name; or a folder."""
    path = write(SHOP)
    with pytest.raises(TypeError, match=r"not 'shop'; did you mean module_name='shop'\?"):
        load(path, 'shop')
    with pytest.raises(TypeError, match=r'did you mean include_dirs=\['):
        load(path, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'^a folder, not a file: '):
        load(tmp_path)


def test_a_module_of_python_is_not_replaced(write):
    """Nobody's `json` becomes a Thrift module by accident."""
    module = load(write(SHOP), module_name='json')
    assert module.__name__ == 'json'
    assert sys.modules['json'] is json
    assert load(write('struct A {}', 'json.thrift')).__name__ == 'json_thrift'


def test_a_module_of_thriftpy2_stays(write):
    """Both libraries call modules by the file's stem; the first one keeps its place."""
    path = write('struct A { 1: i32 a }', 'twice.thrift')
    theirs = thriftpy2.load(str(path), module_name='twice_thrift')
    module = load(path)
    assert sys.modules['twice_thrift'] is theirs
    assert module.__name__ == 'twice_thrift'
    assert pickle.loads(pickle.dumps(module.A(1))) == module.A(1)


def test_an_included_file_is_loaded_once(write):
    """Also if another file has taken the name of its module."""
    other = load(write('struct Other {}', 'one/common.thrift'))
    file = write('struct Base { 1: i32 a } service Shelf {}', 'two/common.thrift')
    has = 'include "common.thrift"\nstruct Has { 1: common.Base base }'
    module = load(write(has, 'two/m.thrift'))
    common = module.common
    name = common.__name__
    assert name != other.__name__ == 'common_thrift'
    assert pickle.loads(pickle.dumps(common.Base(1))) == common.Base(1)
    assert sys.modules['common_thrift'] is other  # a pickle doesn't hide it
    assert load(file) is common is sys.modules['common_thrift'] is sys.modules[name]
    assert sys.modules['common_thrift.Shelf'] is sys.modules[f'{name}.Shelf'] is common.Shelf
    assert common.__name__ == common.Base.__module__ == name
    assert common.Shelf.__name__ == f'{name}.Shelf'
    assert load(file) is not other
    assert pickle.loads(pickle.dumps(common.Base(1))) == common.Base(1)


def test_a_changed_file_is_loaded_again(write):
    """A changed file or include is loaded again; the old module stays usable."""
    base = write('struct Base { 1: i32 a }', 'base.thrift')
    path = write('include "base.thrift"\nstruct Has { 1: base.Base base }')
    module = load(path)
    write('struct Base { 1: i32 a, 2: i32 bee }', 'base.thrift')
    os.utime(base, ns=(1, 1))
    again = load(path)
    assert again is not module
    assert again.base.Base(bee=1)
    assert load(base) is again.base
    with pytest.raises(TypeError):
        module.base.Base(bee=1)
    write('struct Base {', 'base.thrift')
    with pytest.raises(errors.IdlError):
        load(path)


@pytest.mark.parametrize('link', ['base.thrift', 'folder'])
def test_a_symlink_that_is_changed(write, tmp_path, link):
    """An included file that is another one now, by its own link or that of its folder."""
    write('struct Base { 1: i32 a }', 'v1/base.thrift')
    write('struct Base { 1: string b }', 'v2/base.thrift')
    end = 'base.thrift' if link == 'base.thrift' else ''
    name = link if end else f'{link}/base.thrift'
    path = write(f'include "{name}"\nconst base.Base B = {{}}')
    (tmp_path / link).symlink_to(tmp_path / 'v1' / end)
    module = load(path)
    assert module.base.Base(a=None) == module.B
    assert load(path) is module
    (tmp_path / link).unlink()
    (tmp_path / link).symlink_to(tmp_path / 'v2' / end)
    again = load(path)
    assert again.base.Base(b=None) == again.B


def test_include_folders(write, tmp_path):
    """The folder of the including file first, then the given ones in their order."""
    write('const i32 X = 1', 'one/base.thrift')
    write('const i32 X = 2', 'two/base.thrift')
    path = write('include "base.thrift"\nconst i32 Y = base.X', 'main/main.thrift')
    with pytest.raises(errors.IdlError, match=r"expected the file 'base.thrift'"):
        load(path)
    assert load(path, [tmp_path / 'one', tmp_path / 'two']).Y == 1
    assert load(path, [tmp_path / 'two', tmp_path / 'one']).Y == 2
    write('const i32 X = 3', 'main/base.thrift')
    assert load(path).Y == load(path, [tmp_path / 'two']).Y == 3
    assert load(path, [tmp_path / 'one', tmp_path / 'two']).Y == 3  # though no file has changed


@pytest.mark.skipif(not Path('/proc/self/mem').is_file(), reason='reading it fails')
def test_an_included_file_that_cannot_be_read(write):
    """The error is at the line of the include."""
    path = write('\ninclude "/proc/self/mem"')
    with pytest.raises(errors.IdlError, match="2: expected a file that can be read, not '/proc"):
        load(path)


def test_an_included_file_with_an_impossible_name(write, monkeypatch):
    """No file can have the name, at all or in the locale."""
    path = write('include "\0.thrift"')
    with pytest.raises(errors.IdlError, match=r"expected the file '\\x00.thrift', which is not"):
        load(path)
    path = write('include "\u00e9.thrift"')
    code = f"""if True:
        from thrift_client import errors, load
        try:
            load({str(path)!r})
        except errors.IdlError as exc:
            assert exc.line == 1
        else:
            raise SystemExit('loaded')
    """
    monkeypatch.setenv('LC_ALL', 'C')
    monkeypatch.setenv('PYTHONUTF8', '0')
    monkeypatch.setenv('PYTHONCOERCECLOCALE', '0')
    subprocess.run([sys.executable, '-c', code], timeout=30, check=True)


def test_an_included_file_with_a_special_name(write):
    """It doesn't hide what the module has."""
    write('const i32 X = 1', '__name__.thrift')
    module = load(write('include "__name__.thrift"\nconst i32 Y = __name__.X'))
    assert (module.__name__, module.Y) == ('shop_thrift', 1)


def test_two_included_files_with_one_stem(write):
    """Each has a module of its own, and names are found in the one that has them."""
    write('struct A { 1: i32 a }', 'one/base.thrift')
    write('struct B { 1: i32 b }', 'two/base.thrift')
    module = load(write("""
        include "one/base.thrift"
        include "two/base.thrift"
        struct Both { 1: base.A a = {"a": 1}, 2: base.B b = {"b": 2} }
    """))
    both = module.Both()
    assert (both.a.a, both.b.b) == (1, 2)
    modules = {type(both.a).__module__, type(both.b).__module__}
    assert len(modules) == 2
    assert modules <= set(sys.modules)


def test_a_member_hides_an_included_file(write):
    """The file's own names come first."""
    write('const i32 X = 1', 'base.thrift')
    module = load(write('include "base.thrift"\nstruct base { 1: i32 a = base.X }'))
    assert module.base().a == 1


def test_pickles(write):
    """Instances, members, classes, services and the module itself; copies, too."""
    module = load(write(SHOP))
    item = module.Item('a', module.Kind.BOOK, [module.Item('b')])
    error = module.SoldOut(item)
    error.add_note('late')
    things = [item, module.Kind.BOOK, module.Item, module.Kind, module.Shop, module]
    things += [module.Shop.buy_args, module.Shop.buy_args('x')]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(things, protocol)) == things
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (again, again.__notes__) == (error, ['late'])
    assert copy.deepcopy(item) == item
    assert copy.deepcopy(item).parts[0] is not item.parts[0]
    assert copy.copy(error) == error


def test_another_process_loads_what_a_pickle_names(write, tmp_path):
    """The pickle has the file's path."""
    module = load(write(SHOP))
    data = tmp_path / 'item.pickle'
    data.write_bytes(pickle.dumps([module.Item('a'), module.Kind.BOOK, module.Shop]))
    code = f'import pickle; print(pickle.load(open({str(data)!r}, "rb")))'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=30, check=True
    )
    assert "[Item(name='a', kind=<Kind.BOOK: 1>, parts=None), <Kind.BOOK: 1>" in done.stdout


def test_a_pickle_of_an_included_file(write, tmp_path):
    """Another process finds the same classes, where the module's name is another one."""
    write('struct Other {}', 'first/shared.thrift')
    write('exception Odd { 1: i32 a }\nenum Kind { A }', 'second/shared.thrift')
    has = 'include "shared.thrift"'
    load(write(has, 'first/one.thrift'))
    path = write(has, 'second/two.thrift')
    shared = load(path).shared
    assert shared.__name__ != 'shared_thrift'
    data = tmp_path / 'odd.pickle'
    data.write_bytes(pickle.dumps([shared.Odd(1), shared.Kind.A]))
    code = f"""if True:
        import pickle
        from thrift_client import load
        shared = load({str(path)!r}).shared
        odd, kind = pickle.load(open({str(data)!r}, 'rb'))
        assert odd == shared.Odd(1) and type(kind) is shared.Kind, (odd, kind)
    """
    subprocess.run([sys.executable, '-c', code], timeout=30, check=True)


@pytest.mark.parametrize('broken', ['struct Item {', 'include "none.thrift"', None])
def test_a_pickle_of_a_file_that_is_being_changed(write, broken):
    """What was loaded last is used until the file can be loaded again."""
    path = write(SHOP)
    item = load(path).Item('a')
    data = pickle.dumps(item)
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    assert pickle.loads(data) == item


def test_a_subclass_of_a_program_is_pickled_as_its_own(write):
    """It is the program's class, not the file's."""
    module = load(write(SHOP))
    globals()['Priced'] = type('Priced', (module.Item,), {'__module__': __name__})
    sys.modules.setdefault(__name__, sys.modules[test_pickles.__module__])
    priced = globals()['Priced']('a')
    assert pickle.loads(pickle.dumps(priced)) == priced


def test_threads_load_one_module(write):
    """Threads that load a file at the same time get the same module."""
    path = write(SHOP)
    barrier = threading.Barrier(8)
    found = []

    def run():
        barrier.wait(10)
        found.append(load(path))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({id(module) for module in found}) == 1


def test_services_that_are_none(write):
    """The error says what was expected, and what was probably meant."""
    module = load(write(SHOP))
    with pytest.raises(TypeError, match=r'Shop\.Client; did you mean \S*Shop\?'):
        SimpleClient(module.Shop.Client)
    with pytest.raises(TypeError, match=r'shop_thrift; did you mean shop_thrift\.Shop\?'):
        SimpleClient(module)
    with pytest.raises(TypeError, match=r"thrift_client.load\('shop.thrift'\)"):
        SimpleClient('shop.thrift')
