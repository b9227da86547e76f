"""Every kind of generated code: requests and results are those of the generated client."""

from __future__ import annotations

import inspect
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from ground.arguments import field_values, structs
from ground.peer import Peer
from thrift_client import SimpleClient, errors, load

KINDS = ('default', 'slots', 'dynamic', 'enum')
VARIANTS = [f'variants.{kind}.of_variant.child' for kind in KINDS]
PARENTS = [f'variants.{kind}.base.of_variant.parent' for kind in KINDS]
COMMITTED = ['test_if.test_service', 'rich_if.rich_service', *VARIANTS, *PARENTS]
#: Loaded from files without a compiler: they have the same attributes.
LOADED = ['rich.thrift:rich_service', 'gen-variants/variant.thrift:child']
#: From PyPI: what compilers 0.10 and 0.18 wrote.
PUBLISHED = ['TCLIService.TCLIService', 'pymetastore.hive_metastore.ThriftHiveMetastore']
SERVICES = [*COMMITTED, *LOADED, *PUBLISHED]

PROTOCOLS = {
    'binary': (TBinaryProtocolAccelerated, TBinaryProtocol),
    'compact': (TCompactProtocolAccelerated, TCompactProtocol),
    'json': (TJSONProtocol, TJSONProtocol),
}
EXAMPLES = 2


@pytest.fixture(scope='module')
def service_module(request, gen_variants):
    """The generated module of a service, or a skipped test where its package is missing."""
    file, _, service = request.param.partition(':')
    if service:
        return getattr(load(request.config.rootpath / 'test' / file), service)
    return pytest.importorskip(request.param, exc_type=ModuleNotFoundError)


def methods_of(module):
    """Each method of the interface by name, as the interface itself lists them."""
    return dict(inspect.getmembers(module.Iface, inspect.isfunction))


def classes_of(module, name):
    """The classes of a method's arguments and result (None: oneway), inherited or not."""
    defined = sys.modules[getattr(module.Client, f'send_{name}').__module__]
    return getattr(defined, f'{name}_args'), getattr(defined, f'{name}_result', None)


def arguments_of(cls, count):
    """A strategy for the arguments of a call, in order, some of them None."""
    if not cls.thrift_spec and count:  # fields have no ids of their own, and it doesn't tell them
        return st.tuples(st.integers(0, 9), st.text(max_size=5))
    fields = sorted(filter(None, cls.thrift_spec or ()), key=lambda spec: spec[0])
    assert len(fields) == count
    return st.tuples(*(st.one_of(field_values(spec), st.none()) for spec in fields))


def results_of(cls):
    """A strategy for what a server answers: a value, a declared exception, or nothing."""
    if cls.thrift_spec is None:
        return structs(cls)
    fields = [spec for spec in cls.thrift_spec if spec is not None]
    some = [field_values(spec).map(lambda v, n=spec[2]: cls(**{n: v})) for spec in fields]
    return st.one_of(st.builds(cls), *some)


def outcome(function, *args):
    """Return what a call returned or raised, in a form that can be compared."""
    try:
        value = function(*args)
    except Exception as exc:  # noqa: BLE001 - whatever it is has to be the same
        if isinstance(exc, TApplicationException):
            return type(exc), exc.type
        return type(exc), exc, repr(exc)
    return type(value), value, repr(value)


class Reference:
    """The generated client over one message in memory."""

    def __init__(self, module, protocol, name):
        self._module, self._protocol, self._name = module, protocol, name

    def send(self, values):
        """The bytes of a request with sequence id 0; None where it can't be encoded."""
        buffer = TMemoryBuffer()
        client = self._module.Client(self._protocol(buffer))
        try:
            getattr(client, f'send_{self._name}')(*values)
        except Exception:  # noqa: BLE001 - generated code fails in many ways
            return None
        return buffer.getvalue()

    def receive(self, reply):
        """What the client makes of a reply."""
        client = self._module.Client(self._protocol(TMemoryBuffer(reply)))
        return outcome(getattr(client, f'recv_{self._name}'))

    def renumber(self, request, seqid):
        """The same message with another sequence id."""
        name, message_type, body = self.take_apart(request)[:3]
        buffer = TMemoryBuffer()
        protocol = self._protocol(buffer)
        protocol.writeMessageBegin(name, message_type, seqid)
        head = buffer.getvalue()
        protocol.writeMessageEnd()
        return head + body + buffer.getvalue()[len(head) :]

    def take_apart(self, message):
        """Wire name, type, the bytes behind the header and before the end, sequence id."""
        buffer = TMemoryBuffer(message)
        protocol = self._protocol(buffer)
        name, message_type, seqid = protocol.readMessageBegin()
        if self._protocol is not TJSONProtocol:
            return name, message_type, message[buffer.cstringio_buf.tell() :], seqid
        head = f'[1,"{name}",{message_type},{seqid}'.encode()
        assert message.startswith(head)
        return name, message_type, message[len(head) : -1], seqid

    def reply(self, seqid, result, wire_name):
        """The bytes of an answer; None where the result can't be encoded."""
        buffer = TMemoryBuffer()
        protocol = self._protocol(buffer)
        protocol.writeMessageBegin(wire_name, TMessageType.REPLY, seqid)
        try:
            result.write(protocol)
        except Exception:  # noqa: BLE001 - as above
            return None
        protocol.writeMessageEnd()
        return buffer.getvalue()


def is_accelerated(module, protocol):
    """Whether today's C extension takes what the generated client gives it."""
    name, function = next(iter(methods_of(module).items()))
    values = [None] * (function.__code__.co_argcount - 1)
    return Reference(module, protocol, name).send(values) is not None


def compare(peer, client, module, protocol, name, examples):
    """One method, with some arguments and answers."""
    args_class, result_class = classes_of(module, name)
    count = methods_of(module)[name].__code__.co_argcount - 1
    if not args_class.thrift_spec and count:  # with C, generated code loses fields without ids
        protocol = dict(PROTOCOLS.values()).get(protocol, protocol)
    reference = Reference(module, protocol, name)
    oneway = not hasattr(module.Client, f'recv_{name}')
    compared = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        values=arguments_of(args_class, count),
        result=st.none() if oneway else results_of(result_class),
    )
    def check(values, result):
        expected = reference.send(values)
        if expected is None:
            with pytest.raises(errors.EncodeError):
                client.call(name, *values)
            return
        wire_name = reference.take_apart(expected)[0]
        replies = []

        def answer(request):
            seqid = reference.take_apart(request)[3]
            reply = None if oneway else reference.reply(seqid, result, wire_name)
            if reply is None and not oneway:
                reply = reference.reply(seqid, result_class(), wire_name)
            replies.append(reply)
            return reply

        peer.answer = answer
        got = outcome(client.call, name, *values)
        request = peer.requests.get(timeout=10)
        seqid = reference.take_apart(request)[3]
        assert request == reference.renumber(expected, seqid)
        assert got == (outcome(lambda: None) if oneway else reference.receive(replies[0]))
        compared.append(name)

    check()
    return compared


CASES = [(service, protocol) for service in SERVICES for protocol in PROTOCOLS]
#: Hundreds of methods: one protocol has to do where time is short.
LARGE = {('pymetastore.hive_metastore.ThriftHiveMetastore', name) for name in ('compact', 'json')}


@pytest.mark.parametrize(
    ('service_module', 'protocol'),
    [
        pytest.param(*case, id='-'.join(case), marks=pytest.mark.long if case in LARGE else ())
        for case in CASES
    ],
    indirect=['service_module'],
)
def test_every_method_matches_the_generated_client(service_module, protocol):
    """Every method's requests are the generated client's to the byte, its replies mean the same."""
    accelerated, plain = PROTOCOLS[protocol]
    generated = accelerated if is_accelerated(service_module, accelerated) else plain
    names = methods_of(service_module)
    examples = EXAMPLES if len(names) < 100 else 1
    with (
        Peer() as peer,
        SimpleClient(
            service_module, '127.0.0.1', peer.port, True, 2000, protocol=protocol
        ) as client,
    ):
        compared = set()
        for name in names:
            compared.update(compare(peer, client, service_module, generated, name, examples))
    # JSON is pure Python, where generated code refuses more.
    assert protocol == 'json' or compared == set(names)
