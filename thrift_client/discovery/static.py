"""A fixed list as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from thrift_client.discovery.loop import DONE
from thrift_client.discovery.member import members_of
from thrift_client.discovery.source import FunctionReader, Reading, Source
from thrift_client.discovery.stable import Policy

if TYPE_CHECKING:
    from thrift_client.typed_options import MemberForm


class StaticSource(Source):
    """A source with one fixed list.

    `servers`: in any of the forms that `Member.of` takes; their order is kept.

    Raises ValueError (one of them is not a server, two have the same name, or there is none).
    """

    ordered = True

    def __init__(self, servers: Iterable[MemberForm]) -> None:
        self._members = members_of(servers)
        if not self._members:
            raise ValueError('a list of servers needs at least one')
        super().__init__(f'static:{",".join(m.name for m in self._members)}', Policy())

    def open(self, wake: Callable[[], None]) -> FunctionReader:
        """Create a reader of the list."""
        del wake
        return FunctionReader(lambda: Reading(self._members, DONE))
