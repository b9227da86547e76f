"""`probe`: detect a server's transport and protocol by calling it with each in turn."""

from __future__ import annotations

import shlex
import socket
import ssl
from time import monotonic
from typing import Any, NamedTuple

from thrift_client import address
from thrift_client.address import Address
from thrift_client.cli import complete, output
from thrift_client.cli.commands.wires import METHOD, SASL, WIRES, WireFormat, answered, request
from thrift_client.cli.durations import Duration
from thrift_client.cli.exits import CONNECT, OK, TIMEOUT, TLS, WIRE
from thrift_client.cli.ui import click, command, option
from thrift_client.core import detect
from thrift_client.shared.platform import AF_UNIX

#: How to recognize a multiplexed server, and what to try.
_MULTIPLEXED = (
    'A multiplexed server also closes the connection if a call names no service: '
    'if it is one, try --service-name NAME'
)
_OTHER_NAME = 'A multiplexed server also closes the connection if it has no service of that name'
_NOT_MULTIPLEXED = 'The server answers, but is not multiplexed: leave --service-name out'

_SASL = (
    'use --sasl, such as --sasl mechanism=GSSAPI,service=hive '
    'or --sasl mechanism=PLAIN,username=me,password=secret'
)

#: Kinds of servers that no Thrift wire will fit.
_HOPELESS = frozenset({what for _, what, _ in detect.STRANGERS}) - {'HTTP', 'TLS'} | {
    'MySQL', detect.SASL,
}  # fmt: skip


class Sight(NamedTuple):
    """The outcome of one try: 'answer', 'bytes', 'closed' or 'silence', and the bytes."""

    wire: WireFormat
    tls: bool
    outcome: str
    data: bytes = b''

    @property
    def text(self) -> str:
        """What was seen, in a few words."""
        if self.outcome == 'bytes':
            return described(self.data)
        seen = {'answer': 'the answer', 'closed': 'the server closed the connection'}
        return seen.get(self.outcome, 'silence')


class WireProbe:
    """One server, tried on one wire after the other; each try has `patience` seconds."""

    def __init__(self, target: Address, patience: float, service_name: str | None) -> None:
        self.target = target
        self.patience = patience
        self.service_name = service_name
        self.sights: list[Sight] = []

    def run(self, *, every: bool = False) -> list[Sight]:
        """Try until one fits, or `every` wire; returns those that fit.

        Raises OSError if the server cannot be reached.
        """
        only_tls = self.target.scheme in ('thrifts', 'https')
        found = [] if only_tls else self._try([WIRES[0]], tls=False)
        if found and not every:
            return found
        tls = not found and self.has_tls()
        rest = WIRES if tls or only_tls else WIRES[1:]
        found += self._try(list(rest), tls=tls, every=every)
        seen = {sight.outcome for sight in self.sights if sight.tls == tls}
        if seen <= {'closed', 'silence'}:
            self.sights.append(self._sight(SASL, tls=tls))
        return found

    def has_tls(self) -> bool:
        """Tell whether a TLS handshake succeeds; any certificate is accepted."""
        try:
            self._connect(trusting()).close()
        except OSError:
            return False
        return True

    def distrust(self) -> str | None:
        """Return why this machine doesn't trust the server's certificate; None if it does."""
        try:
            self._connect(ssl.create_default_context()).close()
        except OSError as exc:
            return getattr(exc, 'verify_message', '') or str(exc)
        return None

    def _try(self, wires: list[WireFormat], *, tls: bool, every: bool = False) -> list[Sight]:
        found = []
        while wires:
            sight = self._sight(wires.pop(0), tls=tls)
            self.sights.append(sight)
            kind = kind_of(sight.data)
            if sight.outcome == 'answer':
                found.append(sight)
                if not every:
                    break
            elif kind in _HOPELESS:
                break
            elif kind == 'HTTP' and not found:
                wires = [wire for wire in wires if wire.transport == 'http']
        return found

    def _sight(self, wire: WireFormat, *, tls: bool) -> Sight:
        with self._connect(trusting() if tls else None) as connection:
            host = self.target.label.rpartition('://')[2].partition('/')[0]
            data = b''
            expires = monotonic() + self.patience
            try:
                connection.sendall(request(wire, host, self.target.path, self.service_name))
                while (remaining := expires - monotonic()) > 0 and len(data) < 1 << 16:
                    connection.settimeout(remaining)
                    more = connection.recv(1 << 14)
                    data += more
                    if answered(wire, data):
                        return Sight(wire, tls, 'answer', data)
                    if not more:
                        return Sight(wire, tls, 'bytes' if data else 'closed', data)
            except TimeoutError:
                pass
            except OSError:
                return Sight(wire, tls, 'bytes' if data else 'closed', data)
            return Sight(wire, tls, 'bytes' if data else 'silence', data)

    def _connect(self, context: ssl.SSLContext | None) -> socket.socket:
        host, port = self.target.host, self.target.port
        if port is None:
            made = socket.socket(AF_UNIX)
            made.settimeout(self.patience)
            made.connect(host)
        else:
            # A connect may need more time than an answer on an open connection.
            made = socket.create_connection((host, port), max(self.patience, 2.0))
            made.settimeout(self.patience)
        if context is None:
            return made
        try:
            # A unix socket has no name: it is called as the client calls it.
            name = 'localhost' if port is None else host
            return context.wrap_socket(made, server_hostname=name)
        except BaseException:
            made.close()
            raise


def trusting() -> ssl.SSLContext:
    """Return a context that accepts any certificate, for any name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def kind_of(data: bytes) -> str | None:
    """Return which other protocol begins like this; None if unknown."""
    found = detect.recognize(data)
    return found[0] if isinstance(found, tuple) else None


def described(data: bytes) -> str:
    """Return the bytes in a few words: what they look like, and their beginning."""
    kind = kind_of(data)
    if kind == detect.SASL:
        data = data[5:]  # the text is after a status and a size
    first = data.split(b'\r\n', 1)[0][:60] if kind else data[:24]
    text = first.decode('ascii') if first.isascii() and first.decode().isprintable() else None
    shown = repr(text) if text else first.hex(' ')
    return f'{kind}: {shown}' if kind else f'{len(data)} bytes that are not a reply: {shown}'


@command('probe')
@option(
    '--timeout', type=Duration(least_plain=20), default='500ms', show_default=True,
    help='how long to wait for each answer',
)
@option('--service-name', metavar='NAME', help='the name of the service on a multiplexed server')
@option('--every', is_flag=True, help='go on after the first wire that fits')
@option('-v', '--verbose', is_flag=True, panel='Output', help='show the result of each attempt')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print an object')
@click.argument('server', metavar='ADDRESS', shell_complete=complete.servers)
@click.pass_context
def probe_command(
    ctx: click.Context,
    timeout: float,
    service_name: str | None,
    every: bool,
    verbose: bool,
    as_json: bool,
    server: str,
) -> None:
    """Detect transport, protocol and TLS of the server at ADDRESS; print the options to set.

    Calls a method that no server has, on each transport and protocol, with and without TLS: if
    the server answers, it understands them. No method is run. If none fits, finds out whether
    the server requires SASL, without a login.
    """
    try:
        target = address.parse(server)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    probe = WireProbe(target, timeout / 1000, service_name)
    try:
        found = probe.run(every=every)
    except OSError as exc:
        output.print_error(f'{target.label}: {exc.strerror or exc}')
        ctx.exit(TLS if isinstance(exc, ssl.SSLError) else CONNECT)
    report = _report(probe, found)
    if as_json:
        output.print_json(report, plain=True)
    else:
        _print(report, verbose=verbose or not found)
    ctx.exit(_code(probe, found))


def _code(probe: WireProbe, found: list[Sight]) -> int:
    if found:
        return OK
    return TIMEOUT if all(sight.outcome == 'silence' for sight in probe.sights) else WIRE


def _report(probe: WireProbe, found: list[Sight]) -> dict[str, Any]:
    report: dict[str, Any] = {'server': probe.target.label, 'fits': bool(found)}
    in_sasl = [sight for sight in probe.sights if kind_of(sight.data) == detect.SASL]
    if not found and in_sasl:
        over = ' over TLS' if in_sasl[0].tls else ''
        report['hint'] = f'The server requires SASL{over}: {_SASL}'
    elif not found and may_be_multiplexed(probe):
        report['hint'] = _MULTIPLEXED if probe.service_name is None else _OTHER_NAME
    if found:
        if probe.service_name is not None and answered(found[0].wire, found[0].data) != METHOD:
            report['hint'] = _NOT_MULTIPLEXED
            probe.service_name = None
        wire, tls = found[0].wire, found[0].tls
        report |= {'transport': wire.transport, 'protocol': wire.protocol, 'tls': tls}
        if tls:
            report['distrust'] = probe.distrust()
        words = _tls_words(report.get('distrust') or '') if tls else ('', '')
        report |= {'flags': _flags(probe, found[0], words[0])}
        report |= {'python': _python(probe, found[0], words[1])}
        report['also'] = [dict(sight.wire._asdict(), tls=sight.tls) for sight in found[1:]]
    report['tries'] = [
        dict(sight.wire._asdict(), tls=sight.tls, saw=sight.text) for sight in probe.sights
    ]
    return report


def may_be_multiplexed(probe: WireProbe) -> bool:
    """Tell whether only service_name= may be wrong: the server closed the connection."""
    return any(sight.outcome == 'closed' for sight in probe.sights)


def _tls_words(distrust: str) -> tuple[str, str]:
    """Return the flags for TLS and the arguments in Python, for the reason of the distrust."""
    if not distrust:
        return '--ssl', 'ssl=True'
    if 'mismatch' in distrust:
        return '--ssl --server-hostname NAME', "ssl=True, server_hostname='NAME'"
    return '--ssl --ca ca.pem', "ssl=ssl.create_default_context(cafile='ca.pem')"


def _flags(probe: WireProbe, sight: Sight, tls: str) -> str:
    """Return the flags with which any command calls this server at its address."""
    words = ['--transport', sight.wire.transport, '--protocol', sight.wire.protocol, *tls.split()]
    if probe.service_name is not None:
        words += ['--service-name', probe.service_name]
    return shlex.join(words)


def _python(probe: WireProbe, sight: Sight, tls: str) -> str:
    options = [f'transport={sight.wire.transport!r}', f'protocol={sight.wire.protocol!r}']
    options += [tls] if tls else []
    if probe.service_name is not None:
        options.append(f'service_name={probe.service_name!r}')
    target = probe.target
    http = sight.wire.transport == 'http' and target.path
    where = target.label if http else address.join(target.host, target.port)
    return f'SimpleClient(service, {where!r}, {", ".join(options)})'


def _print(report: dict[str, Any], *, verbose: bool) -> None:
    if report['fits']:
        tls = ' over TLS' if report['tls'] else ''
        output.echo(
            f'{report["server"]} speaks transport {report["transport"]}, '
            f'protocol {report["protocol"]}{tls}'
        )
        output.echo(f'  flags   {report["flags"]}')
        output.echo(f'  Python  {report["python"]}')
        for other in report['also']:
            output.echo(f'  also    transport {other["transport"]}, protocol {other["protocol"]}')
        if report.get('distrust'):
            output.echo(f'  The certificate is not trusted here: {report["distrust"]}.')
            output.echo('  --ca trusts the authority of a file; --insecure skips the check')
    else:
        output.echo(f'{report["server"]}: no transport and protocol works; observed:')
    if verbose:
        output.print_table(
            ('transport', 'protocol', 'TLS', 'saw'),
            [
                (each['transport'], each['protocol'], 'yes' if each['tls'] else 'no', each['saw'])
                for each in report['tries']
            ],
        )
    if 'hint' in report:
        output.echo(report['hint'])
