"""Events as records of the standard library's logging."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from thrift_client.errors import ThriftClientError, server_label
from thrift_client.events import CallFinished, Event, ServerEjected, ServerRestored
from thrift_client.observe.listener import outcome, service_name


class EventLog:
    """A listener that writes a record for each event.

    `logger` is a logger or its name. A server that is ejected or restored, a call that
    failed without an answer, and one that took `slow` ms or longer (None: none is slow) are
    WARNINGs; all else is DEBUG. A record carries the event's fields, for formatters that
    write JSON: `thrift_event`, `thrift_service`, `thrift_server`, `thrift_outcome` and one
    `thrift_…` for each further field of the event.
    """

    def __init__(
        self, logger: logging.Logger | str = 'thrift_client.events', slow: float | None = None
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._slow = slow

    def __call__(self, event: Event) -> None:
        """Write the record of an event, if the logger is open for its level."""
        level = self._level(event)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _text(event), extra=_facts(event))

    def _level(self, event: Event) -> int:
        if isinstance(event, (ServerEjected, ServerRestored)):
            return logging.WARNING
        if isinstance(event, CallFinished):
            slow = self._slow is not None and event.elapsed >= self._slow
            if slow or isinstance(event.error, ThriftClientError):
                return logging.WARNING
        return logging.DEBUG


def _text(event: Event) -> str:
    details = (f'{name}={_shown(value)}' for name, value in _details(event))
    return ' '.join((type(event).__name__, f'server={server_label(event.server)!r}', *details))


def _shown(value: Any) -> str:
    return f'{value:.1f}' if isinstance(value, float) else repr(value)


def _details(event: Event) -> list[tuple[str, Any]]:
    return [
        (field.name, getattr(event, field.name))
        for field in fields(event)
        if field.name != 'server'
    ]


def _facts(event: Event) -> dict[str, Any]:
    facts = {
        'event': type(event).__name__,
        'service': service_name(event.server),
        'server': event.server.name,
        **dict(_details(event)),
    }
    if 'error' in facts:
        facts['outcome'] = outcome(facts['error'])
        facts['error'] = None if facts['error'] is None else str(facts['error'])
    return {f'thrift_{name}': value for name, value in facts.items()}
