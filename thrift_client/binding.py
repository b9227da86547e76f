"""Clients and pools get the methods of their service as real attributes of a real class."""

from __future__ import annotations

from thrift_client.core.service import Service
from thrift_client.options import CALL_OPTIONS, nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_classes: dict[tuple[type, Service], type] = {}


def class_for(cls: type, service: Service, make: Callable[[], dict[str, Any]]) -> type:
    """The subclass of `cls` for a service, made once.

    `make()` gives an attribute for each method; those that `cls` has itself stay as they
    are. Two threads that are first at the same time make two and keep the same one.
    """
    if '_service' in vars(cls):
        return cls
    bound = _classes.get((cls, service))
    if bound is None:
        namespace = {name: value for name, value in make().items() if not hasattr(cls, name)}
        namespace |= {
            '__slots__': (),
            '__doc__': f'A {cls.__name__} of {service.module.__name__}.',
            '__module__': cls.__module__,
            '_service': service,
        }
        bound = _classes.setdefault((cls, service), type(cls.__name__, (cls,), namespace))
    return bound


def check_call_options(options: dict[str, Any], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keywords of `with_options`; TypeError for what is no option of a call nor in `more`."""
    known = CALL_OPTIONS + more
    for name in options:
        if name not in known:
            raise TypeError(
                f'with_options() takes {", ".join(known)}, not {name!r}{nearest(name, known)}'
            )
    return options


def unknown_method(service: Service, owner: str, name: str) -> AttributeError:
    """The error for a method that the service doesn't have."""
    if name.startswith('__'):
        return AttributeError(name)
    return AttributeError(
        f'{owner} of {service.name} has no method {name!r}{nearest(name, service.methods)}'
    )
