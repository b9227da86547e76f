"""The methods of a service as attributes: of a client's class, and of a pool as objects."""

from __future__ import annotations

from types import MemberDescriptorType

from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.mistakes import nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

_PACKAGE = __name__.partition('.')[0]
_classes: dict[tuple[type, Service], type] = {}


def class_for(cls: type, service: Service, make: Callable[[], dict[str, Any]]) -> type:
    """Return the subclass of `cls` for a service, made once.

    `make()` returns an attribute for each method; attributes that `cls` has itself are kept. A
    user's subclass comes before the methods, so that it may override them and call them with
    `super()`. If two threads create the class at the same time, both keep the same one.
    """
    if '_service' in vars(cls):
        return cls
    bound = _classes.get((cls, service))
    ours = next(kind for kind in cls.__mro__ if kind.__module__.partition('.')[0] == _PACKAGE)
    if bound is None and ours is not cls:
        bases = cls, class_for(ours, service, make)
        namespace = {
            '__doc__': cls.__doc__,
            '__module__': cls.__module__,
            '_service': service,
            '_slots': _slots_of(cls),
        }
        bound = _classes.setdefault((cls, service), type(cls.__name__, bases, namespace))
    if bound is None:
        methods = make()
        own = {name for kind in cls.__mro__ for name in vars(kind)}  # not the metaclass's `mro`
        hidden = [name for name in methods if name in own]
        namespace = {name: value for name, value in methods.items() if name not in hidden}
        doc = f'A {cls.__name__} of {service.module.__name__}.'
        if hidden:
            _note_hidden(cls, service, hidden)
            doc += '\n\nHidden by attributes of the client: ' + ', '.join(
                f'{name} (call it as client.call({name!r}, …))' for name in hidden
            )
        namespace |= {'__doc__': doc, '__module__': cls.__module__, '_service': service}
        bound = _classes.setdefault((cls, service), type(cls.__name__, (cls,), namespace))
    return bound


def _slots_of(cls: type) -> tuple[Any, ...]:
    """Return the descriptors of the attributes that a user's class keeps in `__slots__`."""
    values = [value for kind in cls.__mro__ for value in vars(kind).values()]
    return tuple(value for value in values if isinstance(value, MemberDescriptorType))


def copy_slots(client: Any, view: Any) -> None:
    """Set the attributes in the slots of a user's class on a view."""
    for slot in client._slots:
        try:
            value = slot.__get__(client)
        except AttributeError:
            continue  # it is not set
        slot.__set__(view, value)


def _note_hidden(cls: type, service: Service, names: list[str]) -> None:
    from logging import getLogger

    getLogger('thrift_client').info(
        "%s of %s has attributes of its own named %s: client.call('%s', ...) reaches the service",
        cls.__name__, service.name, ', '.join(names), names[0],
    )  # fmt: skip


#: What has the attributes that other clients don't have.
_OWNERS = {
    **dict.fromkeys(('all', 'explain', 'plan', 'server_for', 'servers_for'), 'HashClient has it'),
    'set_hash': 'HashClient has it',
    'as_completed': 'ReplicatedClient has it',
    **dict.fromkeys(('add_server', 'follow', 'get_server', 'random_server'), 'pools have it'),
    **dict.fromkeys(('remove_server', 'servers'), 'pools have it'),
    **dict.fromkeys(('disable', 'enable', 'for_service', 'host', 'port'), 'SimpleClient has it'),
}


def unknown_method(service: Service, owner: str, name: Any) -> Exception:
    """Make the error for a method that the service doesn't have, or that is not a name."""
    if not isinstance(name, str):
        example = getattr(name, '__name__', None)
        if example not in service.methods:
            example = next(iter(service.methods), 'ping')
        return TypeError(f'method must be a name such as {example!r}, not {name!r}')
    if name.startswith('__'):
        return AttributeError(name)
    hint = f'; {_OWNERS[name]}' if name in _OWNERS else nearest(name, service.methods)
    return AttributeError(f'{owner} of {service.name} has no method {name!r}{hint}')


class PoolMethod:
    """A method of the service on a pool; calling it makes the call.

    For each method there is a subclass whose `__call__` has the method's signature.
    """

    __slots__ = ('_pool',)

    _method: ClassVar[Method]

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @property
    def __func__(self) -> Any:
        """The function that makes the call; `unittest.mock` asks whether it is a coroutine's."""
        return self._call  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f'<{self._method.name} of {self._pool!r}>'

    def __reduce__(self) -> Any:
        return self._pool.__reduce__()


def method_of(kind: type[PoolMethod]) -> Method:
    """Return the service's method that a class of pool methods calls."""
    return kind._method


class ForwardedMethod(PoolMethod):
    """A method whose calls the pool itself makes, in `_call`."""

    __slots__ = ('_call',)

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self._call = pool._call


class _Binder:
    """Captures the bound arguments instead of calling."""

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> tuple[Any, tuple[Any, ...]]:
        return arguments, values


_binder: Any = _Binder()


def bind(
    kind: type[PoolMethod], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """Return a call's arguments as the generated class, and as a tuple in IDL order.

    Raises TypeError for wrong ones, as the call does.
    """
    bound: tuple[Any, tuple[Any, ...]] = kind.__call__(_binder, *args, **kwargs)
    return bound


class Attribute:
    """Gives a pool its method objects.

    Each is created on first access and kept as an attribute, unless a user's subclass overrides
    the method and this is the access by `super()`. The two then refer to each other until the
    garbage collector runs. So a view keeps one from the second access on: most views are for a
    single call. A pinned view (`_bound` is None), whose connection would stay open, keeps none.
    """

    __slots__ = ('_kind', '_name', '_owner')

    def __init__(self, name: str, kind: type[PoolMethod]) -> None:
        self._name, self._kind = name, kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __get__(self, pool: Any, owner: type) -> Any:
        if pool is None:
            return self._kind
        if owner is not self._owner and getattr(owner, self._name, None) is not self._kind:
            return self._kind(pool)
        attributes = pool.__dict__
        bound = attributes['_bound']
        if bound is None:
            return self._kind(pool)
        if self._name not in bound:
            bound.append(self._name)  # first, for a view that is made at this moment
            if '_is_view' in attributes:
                return self._kind(pool)
        method = attributes[self._name] = self._kind(pool)
        return method


_kinds: dict[tuple[Service, type], dict[str, type[PoolMethod]]] = {}


def method_kinds(service: Service, base: type[PoolMethod]) -> dict[str, type[PoolMethod]]:
    """Return, for each method, a subclass of `base` with the method's signature."""
    kinds = _kinds.get((service, base))
    if kinds is None:
        calls = bind_functions(service, 'return self._call(methodø, argumentsø, {values})')
        kinds = {
            name: type(
                name,
                (base,),
                {
                    '__slots__': (),
                    '__call__': call,
                    '__doc__': call.__doc__,
                    '__name__': name,
                    '_method': service.methods[name],
                },
            )
            for name, call in calls.items()
        }
        kinds = _kinds.setdefault((service, base), kinds)
    return kinds


def pool_class_for(cls: type, service: Service, base: type[PoolMethod]) -> Any:
    """Return the subclass of a pool class for a service; its methods derive from `base`."""
    kinds = method_kinds(service, base)
    return class_for(cls, service, lambda: {name: Attribute(name, kinds[name]) for name in kinds})
