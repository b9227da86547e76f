"""The command `bench`: load, and the figures that it reports."""

import json

import pytest


def test_a_closed_loop_makes_exactly_n_calls(kv):
    """The calls, the rate and the latencies are reported."""
    found = json.loads(kv('bench', '-n', '300', '-c', '4', '--json', 'ping').stdout)
    assert (found['calls'], found['errors']) == (300, {})
    assert sum(count for _, count in found['histogram']) == 300
    figures = found['latency']
    order = ('min', 'p50', 'p75', 'p90', 'p95', 'p99', 'p99.9', 'max')
    assert list(map(figures.get, order)) == sorted(map(figures.get, order))
    assert found['rate'] == pytest.approx(300 / found['seconds'], rel=0.05)


def test_an_open_loop_keeps_its_rate(kv):
    """50 calls in half a second at 100 calls per second."""
    done = kv('bench', '--rate', '100', '--duration', '500', '--json', 'ping')
    found = json.loads(done.stdout)
    assert found['calls'] == 50
    assert found['seconds'] == pytest.approx(0.5, abs=0.2)


def test_an_open_loop_counts_the_delay_of_a_slow_server(rich):
    """One connection, 20 ms per call, a call due every 10 ms: the last one waits for all others."""
    arguments = ('bench', '-c', '1', '-n', '20', '--rate', '100', '--json')
    found = json.loads(rich(*arguments, 'sleep_ms', '[20]').stdout)
    assert found['latency']['max'] > 150
    assert found['latency']['min'] >= 20


def test_errors_are_counted_by_kind(rich):
    """Every call fails with a declared exception; the exit code is that of the exception."""
    done = rich('bench', '-n', '20', '--json', 'find', '[missing, false]')
    assert done.returncode == 1
    assert json.loads(done.stdout)['errors'] == {'NotFound': 20}
    done = rich('bench', '-n', '2', 'find', '[missing, false]')
    assert '2 NotFound: {"key": "missing"}' in done.stdout


def test_the_default_output_is_tables_and_a_chart(kv):
    """Percentiles and bars, as plain text in a pipe."""
    text = kv('bench', '-n', '200', 'ping').stdout
    assert text.startswith('200 calls in ')
    assert '\np99.9 ' in text
    assert '█' in text
