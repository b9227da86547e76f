"""Adapters that turn events into log records, metrics and traces; each is a listener.

Read in this order: listener (the base), log, prometheus, otel.

Each name is imported from its module when it is first used, and its library when an adapter is
created: a library is needed only if its adapter is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thrift_client.observe.log import EventLog
    from thrift_client.observe.otel import Telemetry
    from thrift_client.observe.prometheus import Metrics

__all__ = ['EventLog', 'Metrics', 'Telemetry']

_HOMES = {'EventLog': 'log', 'Metrics': 'prometheus', 'Telemetry': 'otel'}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
