"""The base of the adapters: calls the method for an event's class."""

from __future__ import annotations

from typing import Any

from thrift_client.events import Event


class EventListener:
    """A listener whose method `_on_<name of the event's class>` gets the event, if there is one."""

    def __call__(self, event: Event) -> None:
        """Handle an event by the method for its class; ignore it without one."""
        handle = getattr(self, f'_on_{type(event).__name__}', None)
        if handle is not None:
            handle(event)

    def handler_of(self, kind: str) -> Any:
        """Return the method that handles events of the class named `kind`, or None."""
        if type(self).__call__ is not EventListener.__call__:
            return self
        return getattr(self, f'_on_{kind}', None)


def service_name(server: Any) -> str:
    """Return a client's service as `package.service`, the path of its gen-py module."""
    name: str = server.service.__name__
    return name


def outcome(error: BaseException | None) -> str:
    """Return how a call ended, as a label: `ok`, or the name of the exception's class."""
    return 'ok' if error is None else type(error).__name__
