"""Events as Prometheus metrics, through prometheus-client.

Which servers have left is noted without a lock, as adding to a set is atomic under the GIL.
Without the GIL, it would need one, because `WeakSet` is written in Python.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

from thrift_client.observe.listener import EventListener, outcome, service_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from prometheus_client import CollectorRegistry

    from thrift_client.events import (
        CallFinished,
        ConnectionDiscarded,
        ConnectionOpened,
        Event,
        ServerChecked,
        ServerEjected,
        ServerLeft,
        ServerRestored,
    )

#: Upper bounds in seconds: a call inside a data centre takes less than prometheus-client's
#: own first bucket of 5 ms.
BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

SERVER = ('service', 'server')
METHOD = ('service', 'method', 'server')
CALL = (*METHOD, 'outcome')


class MetricRow(NamedTuple):
    """One metric: its kind (a class of prometheus-client), name, text and labels."""

    kind: str
    name: str
    text: str
    labels: tuple[str, ...]


ROWS = {
    'calls': MetricRow('Counter', 'thrift_client_calls', 'Calls that have ended.', CALL),
    'duration': MetricRow(
        'Histogram',
        'thrift_client_call_duration_seconds',
        'Time of whole calls, with all attempts and pauses.',
        CALL,
    ),
    'attempts': MetricRow(
        'Counter', 'thrift_client_attempts', 'Attempts of the calls that have ended.', METHOD
    ),
    'opened': MetricRow(
        'Counter', 'thrift_client_connections_opened', 'Connections opened.', SERVER
    ),
    'discarded': MetricRow(
        'Counter', 'thrift_client_connections_discarded', 'Connections closed.', SERVER
    ),
    'open': MetricRow(
        'Gauge', 'thrift_client_connections_open', 'Connections that are open now.', SERVER
    ),
    'ejections': MetricRow(
        'Counter', 'thrift_client_ejections', 'How often the breaker ejected the server.', SERVER
    ),
    'checks': MetricRow(
        'Counter',
        'thrift_client_checks',
        'Checks of ejected servers in the background.',
        (*SERVER, 'healthy'),
    ),
    'ejected': MetricRow(
        'Gauge', 'thrift_client_ejected', '1 while the breaker has ejected the server.', SERVER
    ),
}

#: The metrics of each registry, which takes a name only once; `_lock` guards it.
_made: WeakKeyDictionary[CollectorRegistry, _Series] = WeakKeyDictionary()
_lock = Lock()


class _Series:
    """The metrics of a registry, and which of their series and clients each server has."""

    def __init__(self, metrics: dict[str, Any]) -> None:
        self._metrics = metrics
        self._of: dict[tuple[str, str], set[tuple[str, tuple[str, ...]]]] = {}
        self._clients: dict[tuple[str, str], WeakSet[Any]] = {}
        self._lock = Lock()

    def labelled(self, key: str, server: Any, labels: tuple[str, ...]) -> Any:
        """Return the series of a metric with these labels, and note that it is the server's."""
        name = service_name(server), server.name
        with self._lock:
            self._of.setdefault(name, set()).add((key, labels))
            self._clients.setdefault(name, WeakSet()).add(server)
            return self._metrics[key].labels(*labels)

    def forget(self, server: Any) -> None:
        """Remove the series of a server that has left, unless another client has its name."""
        name = service_name(server), server.name
        with self._lock:
            clients = self._clients.get(name)
            if clients is None:
                return
            clients.discard(server)
            if clients:
                return
            del self._clients[name]
            for key, labels in self._of.pop(name):
                self._metrics[key].remove(*labels)


class _Known:
    """The counters for the calls of one server, by method and kind of error."""

    __slots__ = ('counts', 'server')

    def __init__(self, server: Any, all_known: dict[int, _Known]) -> None:
        number = id(server)
        self.server = ref(server, lambda _: all_known.pop(number, None))
        self.counts: dict[tuple[str, type], tuple[Callable[..., None], ...]] = {}


class Metrics(EventListener):
    """A listener that counts and times calls and connections in a registry.

    `registry`: a CollectorRegistry; None is prometheus-client's own. One may serve any number
    of clients, and two of the same registry share its metrics. The series of a server end when
    its last pool removes it. Raises ImportError if prometheus-client isn't installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        library = _library()
        if registry is None:
            registry = library.REGISTRY
        with _lock:
            if registry not in _made:
                _made[registry] = _Series(
                    {key: _metric(library, row, registry) for key, row in ROWS.items()}
                )
            self._series = _made[registry]
        self._known: dict[int, _Known] = {}
        self._left: WeakSet[Any] = WeakSet()

    def _on_CallFinished(self, event: CallFinished) -> None:
        """Count a call, its time and its attempts."""
        server = event.server
        known = self._known.get(id(server))
        if known is None or known.server() is not server:
            if self._has_left(server):
                return
            known = self._known[id(server)] = _Known(server, self._known)
        kind = event.method, type(event.error)
        count = known.counts.get(kind)
        if count is None:
            labels = service_name(server), event.method, server.name
            ended = outcome(event.error)
            count = known.counts[kind] = (
                self._series.labelled('calls', server, (*labels, ended)).inc,
                self._series.labelled('duration', server, (*labels, ended)).observe,
                self._series.labelled('attempts', server, labels).inc,
            )
        count_call, observe, count_attempts = count
        count_call()
        observe(event.elapsed / 1000)
        count_attempts(event.attempts)

    def _on_ConnectionOpened(self, event: ConnectionOpened) -> None:
        """Count a connection."""
        self._change('inc', 'opened', event)
        self._change('inc', 'open', event)

    def _on_ConnectionDiscarded(self, event: ConnectionDiscarded) -> None:
        """Count a connection's end."""
        self._change('inc', 'discarded', event)
        self._change('dec', 'open', event)

    def _on_ServerEjected(self, event: ServerEjected) -> None:
        """Count an ejection."""
        self._change('inc', 'ejections', event)
        self._change('set', 'ejected', event, value=1)

    def _on_ServerChecked(self, event: ServerChecked) -> None:
        """Count a check."""
        self._change('inc', 'checks', event, str(event.healthy).lower())

    def _on_ServerRestored(self, event: ServerRestored) -> None:
        """Note that the server gets calls again."""
        self._change('set', 'ejected', event, value=0)

    def _on_ServerLeft(self, event: ServerLeft) -> None:
        """End the server's series."""
        self._left.add(event.server)
        self._known.pop(id(event.server), None)
        self._series.forget(event.server)

    def _change(self, how: str, key: str, event: Event, *more: str, value: int = 1) -> None:
        """Change a metric of the event's server, unless its series have ended."""
        server = event.server
        if self._has_left(server):
            return  # what was in flight ends later
        labels = service_name(server), server.name, *more
        series = self._series.labelled(key, server, labels)
        getattr(series, how)(value)

    def _has_left(self, server: Any) -> bool:
        """Tell whether its last pool has removed a server, and no pool has it again."""
        if server in self._left and server._endpoint.health.groups:
            self._left.discard(server)
        return server in self._left


def _library() -> ModuleType:
    try:
        import prometheus_client
    except ImportError as exc:
        raise ImportError(
            "Metrics needs prometheus-client: pip install 'thrift_client[prometheus]'",
            name='prometheus_client',
        ) from exc
    return prometheus_client


def _metric(library: ModuleType, row: MetricRow, registry: CollectorRegistry) -> Any:
    options: dict[str, object] = {'registry': registry}
    if row.kind == 'Histogram':
        options['buckets'] = BUCKETS
    if row.kind == 'Gauge':
        options['multiprocess_mode'] = 'livesum'  # of the processes of a pre-forking server
    return getattr(library, row.kind)(row.name, row.text, row.labels, **options)
