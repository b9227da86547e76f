"""Clients of a multiplexed server share its connections: who has none idle borrows one.

A connection belongs to one stack at a time, and changes hands only while it idles, when a
client would otherwise open one. So the counts, the gate and the close of a client are its
own, and a call that finds a connection of its own knows nothing of the others.
"""

from __future__ import annotations

from weakref import WeakValueDictionary, ref

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.wire import Wire
    from thrift_client.net.connections import Connections
    from thrift_client.options import Options

#: The options that make a connection what it is; clients share where they are equal.
ALIKE = (
    'timeout',  # the kernel's timeout of the socket
    'protocol',
    'transport',
    'ssl',
    'sasl',
    'idle_timeout',
    'max_age',
    'max_message_size',
    'max_container_length',
)


class Sharers:
    """The stacks to one address whose clients may use one another's idle connections."""

    __slots__ = ('__weakref__', '_stacks')

    def __init__(self) -> None:
        # Each is one operation of the interpreter on a dict, so there is nothing to lock.
        self._stacks: dict[ref[Connections], list[Any]] = {}

    def join(self, stack: Connections, traits: list[Any]) -> None:
        """Let a stack lend and borrow among those of equal traits, for as long as it lives."""
        self._stacks[ref(stack, self._leave)] = traits

    def others(self, stack: Connections) -> Iterator[Connections]:
        """The other stacks that share with this one."""
        stacks = self._stacks.copy()
        traits = stacks[ref(stack)]
        for reference, each in stacks.items():
            other = reference()
            if other is not None and other is not stack and each == traits:
                yield other

    def _leave(self, reference: ref[Connections]) -> None:
        self._stacks.pop(reference, None)


#: By host, port and whether the C extension serves. Of two threads that are the first to an
#: address at the same time each may make one, and their clients share nothing: no harm.
_sharers: WeakValueDictionary[tuple[Any, ...], Sharers] = WeakValueDictionary()


def share(stack: Connections, address: Address, wire: Wire, options: Options) -> None:
    """Have a stack share its connections with those that are like it, if its client multiplexes.

    Not over HTTP, where a connection sends its client's cookies, nor over a user's own
    transport, which may know whose it is.
    """
    if options.service_name is None or wire.transport in ('http', 'apache'):
        return
    key = address.host, address.port, wire.codec.encoder is not None
    stack.sharers = _sharers.setdefault(key, Sharers())
    stack.sharers.join(stack, [getattr(options, name) for name in ALIKE])
