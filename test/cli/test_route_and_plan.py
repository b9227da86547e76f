"""The commands `route` and `plan`: the servers of keys, and which keys move."""

import json
import re

import pytest


def servers_of(kv_servers):
    """Give the flags that name all servers."""
    return [part for server in kv_servers for part in ('-a', server.address)]


@pytest.mark.parametrize('routing', ['modulo', 'rendezvous', 'ketama'])
def test_route_names_the_server_that_then_serves(cli, kv_servers, routing):
    """The server that route names is the one that has the key after the call."""
    target = ('-s', 'test_if.test_service', '--routing', routing, *servers_of(kv_servers))
    told = json.loads(cli('route', *target, '--key', 'key', 'setk', '[word, x]', '--json').stdout)
    cli('call', *target, '--key', 'key', 'setk', '[word, x]')
    rows = json.loads(cli('all', *target[:2], *target[4:], 'keys', '--json').stdout)
    assert [row['server'] for row in rows if row['value'] == ['word']] == [told['server']]
    assert (told['key'], told['routing']) == ("'word'", routing)


def test_route_sends_nothing_and_says_why(cli):
    """The servers need not exist, and the output explains the arithmetic."""
    target = ('-s', 'rich_if.rich_service', '-a', 'h1:1', '-a', 'name=h2:2', '-a', 'h3:3')
    text = cli('route', *target, 'medium', '[7]').stdout
    assert re.search(r'^server +name \(h2:2\)$', text, re.MULTILINE)
    assert re.search(r'^why +7 % 3 servers = 1, and name is number 1$', text, re.MULTILINE)


def test_an_unknown_routing_is_a_usage_error(cli):
    """The error names it."""
    target = ('-s', 'rich_if.rich_service', '-a', 'h1:1', '-a', 'h2:2', '--routing', 'nowhere')
    done = cli('route', *target, 'medium', '[7]')
    assert done.returncode == 2
    assert "'nowhere' is not one of" in done.stderr


def test_plan_moves_a_share_of_the_keys_and_with_modulo_most(cli):
    """A fifth server takes a fifth of the keys with rendezvous; modulo moves four fifths."""
    fleet = [part for n in range(4) for part in ('-a', f'h{n}:1')]
    done = cli('plan', *fleet, '--add', 'h4:1', '--json')
    plans = {plan['routing']: plan for plan in json.loads(done.stdout)}
    assert plans.keys() == {'modulo', 'jump', 'ketama', 'maglev', 'rendezvous'}
    assert plans['rendezvous']['share'] == pytest.approx(0.2, abs=0.02)
    assert plans['modulo']['share'] == pytest.approx(0.8, abs=0.02)
    assert {move['to'] for move in plans['rendezvous']['moves']} == {'h4:1'}
    assert sum(plans['jump']['after'].values()) == plans['jump']['keys'] == 20000


def test_plan_takes_keys_weights_and_names(cli, tmp_path):
    """Keys from a file, a server that is removed, and one with twice the weight."""
    (tmp_path / 'keys').write_text('\n'.join(map(str, range(3000))))
    done = cli(
        'plan', '-a', 'a=h1:1', '-a', 'b=h2:1@2', '-a', 'c=h3:1', '--remove', 'c',
        '--routing', 'rendezvous', '--keys', 'keys', '--json',
    )  # fmt: skip
    (plan,) = json.loads(done.stdout)
    assert plan['keys'] == 3000
    assert plan['before']['b'] / 3000 == pytest.approx(0.5, abs=0.05)
    assert {move['from'] for move in plan['moves']} == {'c'}


def test_only_line_feeds_end_a_key(cli, tmp_path):
    """A key may have the line separators of Unicode."""
    (tmp_path / 'keys').write_text('a\u2028b\x0cc\u0085d\n\r\ne')
    done = cli('plan', '-a', 'h1:1', '--add', 'h2:1', '--keys', 'keys', '--json')
    assert {plan['keys'] for plan in json.loads(done.stdout)} == {3}


def test_a_file_of_keys_that_is_not_text_is_an_error(cli, tmp_path):
    """Exit code 2, and the file."""
    (tmp_path / 'keys').write_bytes(b'\xff\xfe')
    done = cli('plan', '-a', 'h1:1', '--add', 'h2:1', '--keys', 'keys')
    assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
    assert 'cannot read keys: ' in done.stderr


def test_plan_draws_bars(cli):
    """The length of a server's bar is its share."""
    text = cli('plan', '-a', 'h1:1', '-a', 'h2:1', '--remove', 'h2:1', '--routing', 'jump').stdout
    assert re.search(r'^h1:1 .*\+\d+ +█{30}$', text, re.MULTILINE)
    assert re.search(r'^h2:1 +\d+ +0 +-\d+$', text, re.MULTILINE)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('-a', 'h1:1'), 'Missing change'),
        (('-a', 'h1:1', '--remove', 'h9:1'), 'cannot remove h9:1: it is not one of'),
        (('-a', 'h1:1', '--remove', 'h1:1'), 'leave at least one'),
        (('-a', 'h1:1', '--add', 'h1:1'), 'duplicate name'),
        (('-a', 'h1:1', '--add', 'h2:1@2', '--routing', 'jump'), 'supports no weights'),
        (('-a', 'h1:99999', '--add', 'h2:1'), 'port 99999'),
    ],
)
def test_an_impossible_plan_is_an_error(cli, arguments, said):
    """Exit code 2 and the reason."""
    done = cli('plan', *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_plan_reads_the_servers_of_the_environment(cli):
    """The variable that `options` lists, unless there are flags."""
    env = {'THRIFT_CLIENT_SERVER': 'h1:1 kv-2=h2:1'}
    done = cli('plan', '--add', 'h3:1', '--routing', 'jump', '--json', env=env)
    assert list(json.loads(done.stdout)[0]['before']) == ['h1:1', 'kv-2'], done.stderr
    done = cli('plan', '-a', 'h4:1', '--add', 'h3:1', '--routing', 'jump', '--json', env=env)
    assert list(json.loads(done.stdout)[0]['before']) == ['h4:1'], done.stderr
