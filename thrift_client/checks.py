"""Checks of the options that say how a server is spoken to: each gives the value to keep."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any


def check_tls(name: str, value: Any) -> Any:
    """True or an ssl.SSLContext, or None for no TLS."""
    if value is None or value is False:
        return None
    if value is not True and not hasattr(value, 'wrap_socket'):
        raise TypeError(f'{name} must be True or an ssl.SSLContext, not {value!r}')
    return value


def check_text(name: str, value: Any) -> str | None:
    """A text that says something, or None."""
    if value is not None and (not isinstance(value, str) or not value):
        raise TypeError(f'{name} must be a text or None, not {value!r}')
    return value


def check_sasl(name: str, value: Any) -> dict[str, Any] | None:
    """A dict with a mechanism, or None. No error shows the value: it has a password."""
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get('mechanism'), str):
        raise TypeError(
            f"{name} must be a dict with 'mechanism' ('PLAIN', …) and what that needs"
        )
    return dict(value)


def check_headers(name: str, value: Any) -> Any:
    """A dict of texts, a callable that returns one, or None."""
    if value is None or callable(value):
        return value
    if not isinstance(value, dict) or not all(
        isinstance(part, str) for item in value.items() for part in item
    ):
        raise TypeError(f'{name} must be a dict of texts, or a callable that returns one')
    return dict(value)
