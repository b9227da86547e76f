"""`doctor`: versions, extras, and what is missing or unsafe, with the consequences."""

from __future__ import annotations

import re
from typing import Any

from thrift_client.cli import output, versions
from thrift_client.cli.ui import TERMINAL, command, option

#: What doesn't work without an extra.
COSTS = {
    'arrays': "no arrays='numpy'",
    'cli': 'no commands but --version',
    'dns': 'no srv:// sources',
    'etcd': 'no etcd:// sources',
    'http': 'no http:// and https:// servers',
    'kerberos': 'no SASL with GSSAPI',
    'opentelemetry': 'no traces',
    'prometheus': 'no metrics',
    'sasl': 'no SASL: Hive, Impala and other servers that ask for a log-in',
    'testing': 'no pytest fixtures',
    'yaml': 'no YAML files of servers',
    'zookeeper': 'no zk:// sources',
}

#: The first release that resists each attack, and what a server can do to older ones.
SAFE_RELEASES = (
    ((0, 24), 'a reply with a struct nested 20,000 deep ends the process'),
    ((0, 25), 'a reply with unknown fields nested 200,000 deep ends the process'),
)


@command('doctor')
@option('--json', 'as_json', is_flag=True, panel='Output', help='Print an object.')
def doctor_command(as_json: bool) -> None:
    """Show versions and extras for a bug report, and what is missing or unsafe."""
    extras = versions.extras()
    found = versions.versions()
    findings = problems(found['thrift'], versions.has_c_extension(), versions.compiler())
    if as_json:
        output.print_json(
            {
                'versions': found,
                'extras': {extra.name: _extra(extra) for extra in extras},
                'findings': findings,
            },
            plain=True,
        )
        return
    output.echo(versions.summary())
    output.echo()
    if extras:
        rows = [(extra.name, _state(extra), _cost(extra)) for extra in extras]
        output.print_table(('extra', 'installed', 'without it'), rows)
    else:
        output.echo('thrift_client is not installed as a distribution: its extras are unknown')
    for finding in findings:
        output.echo()
        output.echo(f'! {finding}', bold=TERMINAL)


def problems(thrift: str, c_extension: bool, compiler: str | None) -> list[str]:
    """Return what is unsafe, slow or missing, with the solution."""
    found = []
    attacks = unsafe(thrift)
    if attacks:
        found.append(
            f'thrift {thrift} is unsafe for untrusted servers: {"; ".join(attacks)}. '
            "Upgrade: pip install 'thrift>=0.25'"
        )
    if not c_extension:
        found.append(
            "thrift has no C extension here: decoding is 10 to 30 times slower. Install a "
            "C compiler and Python's headers, then: pip install --force-reinstall "
            '--no-binary thrift thrift'
        )
    if compiler is None:
        found.append(
            'The thrift compiler is not installed. It is only needed to write gen-py code: '
            'thrift_client.load() and -s FILE.thrift work without it.'
        )
    return found


def unsafe(thrift: str) -> list[str]:
    """Return what an untrusted server can do to a process with this release of thrift."""
    numbers = re.match(r'(\d+)\.(\d+)', thrift)
    if numbers is None:
        return []
    release = int(numbers[1]), int(numbers[2])
    return [attack for safe, attack in SAFE_RELEASES if release < safe]


def _extra(extra: versions.Extra) -> dict[str, Any]:
    return {'present': extra.present, 'missing': extra.missing}


def _state(extra: versions.Extra) -> str:
    if extra.missing:
        return f'no: {", ".join(extra.missing)}'
    return ', '.join(f'{name} {version}' for name, version in extra.present.items())


def _cost(extra: versions.Extra) -> str:
    cost = COSTS.get(extra.name, '')
    if extra.missing and cost:
        return f"{cost}; pip install 'thrift_client[{extra.name}]'"
    return cost
