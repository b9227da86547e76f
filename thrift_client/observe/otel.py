"""Events as OpenTelemetry spans and metrics, and a trace's context in headers.

The names are those of the semantic conventions for RPC clients:
https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/ and …/rpc-metrics/.

A span begins with CallStarted and ends with CallFinished, which are sent in the context (thread
or task) of the caller. `_open` holds the spans that have begun there, innermost last; it is a
tuple that is never changed, so that a context copied for other work keeps its own. A span that
ends in such a copy (a leg of a fan-out on an event loop) can't be removed from the caller's
tuple: it is marked as ended, and the next span that begins there leaves it out.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from thrift_client.observe.listener import EventListener, service_name

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from thrift_client.events import AttemptFailed, CallFinished, CallStarted, RetryPlanned

SCOPE = 'thrift_client'
SYSTEM = 'apache_thrift'
HISTOGRAM = 'rpc.client.call.duration'
#: Upper bounds in seconds, as the conventions advise.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class _Begun:
    """The record of a call that has begun; `owner` is the listener that began its span."""

    __slots__ = ('ended', 'method', 'owner', 'server', 'span')

    def __init__(self, owner: Telemetry, server: Any, method: str, span: Span) -> None:
        self.owner = owner
        self.server = server
        self.method = method
        self.span = span
        self.ended = False


_open: ContextVar[tuple[_Begun, ...]] = ContextVar('thrift_client_spans', default=())


class Telemetry(EventListener):
    """A listener that records a span for each call and measures its time.

    `tracer_provider`, `meter_provider`: None is the process's own. Pass the method `headers` as
    the option of that name so that servers continue the trace, if the transport has headers.
    Raises ImportError if opentelemetry-api isn't installed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, propagate, trace
        except ImportError as exc:
            raise ImportError(
                "Telemetry needs opentelemetry-api: pip install 'thrift_client[opentelemetry]'",
                name='opentelemetry',
            ) from exc
        self._trace, self._propagate = trace, propagate
        self._tracer = trace.get_tracer(SCOPE, _version(), tracer_provider)
        self._duration = metrics.get_meter(SCOPE, _version(), meter_provider).create_histogram(
            HISTOGRAM,
            unit='s',
            description='How long outgoing calls take.',
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def headers(self) -> dict[str, str]:
        """Return the headers that carry the context of the call's span, or the caller's."""
        carrier: dict[str, str] = {}
        begun = [each for each in _still_open() if each.owner is self]
        context = self._trace.set_span_in_context(begun[-1].span) if begun else None
        self._propagate.inject(carrier, context)
        return carrier

    def _on_CallStarted(self, event: CallStarted) -> None:
        """Begin the call's span, if anything records spans."""
        if not self._traces():
            return
        span = self._start(event, None)
        _open.set((*_still_open(), _Begun(self, event.server, event.method, span)))

    def _on_AttemptFailed(self, event: AttemptFailed) -> None:
        """Note the failure in the call's span."""
        begun = self._find(event)
        if begun is not None:
            begun.span.add_event(
                'thrift.attempt_failed',
                {'error.type': _type_name(event.error), 'thrift.attempt': event.attempt},
            )

    def _on_RetryPlanned(self, event: RetryPlanned) -> None:
        """Note the pause in the call's span."""
        begun = self._find(event)
        if begun is not None:
            attributes = {'thrift.attempt': event.attempt, 'thrift.pause_ms': event.pause}
            begun.span.add_event('thrift.retry_planned', attributes)

    def _on_CallFinished(self, event: CallFinished) -> None:
        """End the call's span, and record its time."""
        begun = self._find(event)
        traces, measures = begun is not None or self._traces(), self._measures()
        if not (traces or measures):
            return
        attributes = _attributes(event.server, event.method)
        if event.error is not None:
            attributes['error.type'] = _type_name(event.error)
        context = self._end(event, begun, attributes) if traces else None
        if measures:
            self._duration.record(event.elapsed / 1000, attributes, context)

    def _end(
        self, event: CallFinished, begun: _Begun | None, attributes: dict[str, str | int]
    ) -> Context:
        """End the call's span; return the context that it was in."""
        if begun is None:  # it began in another context, such as that of an iterator's creator
            span = self._start(event, time.time_ns() - int(event.elapsed * 1e6))
        else:
            span = begun.span
            begun.ended = True
            _open.set(tuple(_still_open()))
        span.set_attributes(attributes)
        if event.error is not None:
            span.set_status(self._trace.StatusCode.ERROR, str(event.error))
        if event.attempts > 1:
            span.set_attribute('thrift.attempts', event.attempts)
        span.end()
        return self._trace.set_span_in_context(span)

    def _traces(self) -> bool:
        """Tell whether spans are recorded; False for the API without a provider."""
        tracer = self._tracer
        return type(getattr(tracer, '_tracer', tracer)) is not self._trace.NoOpTracer

    def _measures(self) -> bool:
        """Tell whether times are recorded; False for the API without a provider."""
        return getattr(self._duration, '_real_instrument', self) is not None

    def _find(self, event: AttemptFailed | RetryPlanned | CallFinished) -> _Begun | None:
        """Return the call's record: of this server, or, after a retry elsewhere, of another."""
        if not _open.get():
            return None
        mine = [
            begun
            for begun in reversed(_still_open())
            if begun.owner is self and begun.method == event.method
        ]
        of_server = (begun for begun in mine if begun.server is event.server)
        return next(of_server, mine[0] if mine else None)

    def _start(self, event: CallStarted | CallFinished, begun_at: int | None) -> Span:
        attributes = _attributes(event.server, event.method)
        return self._tracer.start_span(
            str(attributes['rpc.method']),
            kind=self._trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=begun_at,
        )


def _still_open() -> list[_Begun]:
    """Return the records of this context whose calls have not ended."""
    return [begun for begun in _open.get() if not begun.ended]


def _attributes(server: Any, method: str) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        'rpc.system.name': SYSTEM,
        'rpc.method': f'{service_name(server)}/{method}',
        'server.address': server.host,
    }
    if server.port is not None:
        attributes['server.port'] = server.port
    return attributes


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return f'{kind.__module__}.{kind.__qualname__}'


def _version() -> str:
    from thrift_client._version import __version__

    return __version__
