"""The methods of a service on a pool: objects that make calls, with real signatures."""

from __future__ import annotations

from thrift_client.core.service import Method, Service, bind_functions

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any, ClassVar


class PoolMethod:
    """A method of the service on a pool; calling it makes the call.

    For each method there is a subclass whose `__call__` has the method's signature.
    """

    __slots__ = ('_pool',)

    method: ClassVar[Method]

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __repr__(self) -> str:
        return f'<{self.method.name} of {self._pool!r}>'


class _Binder:
    """Stands in for a method object, to get what a call would be made with."""

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> tuple[Any, tuple[Any, ...]]:
        return arguments, values


_binder: Any = _Binder()


def bind(
    kind: type[PoolMethod], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """The arguments of a call in the generated class, and as a tuple in the order of the IDL.

    Raises TypeError for wrong ones, as the call does.
    """
    bound: tuple[Any, tuple[Any, ...]] = kind.__call__(_binder, *args, **kwargs)
    return bound


class Attribute:
    """Gives a pool its method objects, each made when it is first looked up."""

    __slots__ = ('_kind', '_name')

    def __init__(self, name: str, kind: type[PoolMethod]) -> None:
        self._name, self._kind = name, kind

    def __get__(self, pool: Any, owner: type) -> Any:
        if pool is None:
            return self._kind
        method = pool.__dict__[self._name] = self._kind(pool)
        return method


_kinds: dict[tuple[Service, type], dict[str, type[PoolMethod]]] = {}


def method_kinds(service: Service, base: type[PoolMethod]) -> dict[str, type[PoolMethod]]:
    """For each method of the service a subclass of `base` with the method's signature."""
    kinds = _kinds.get((service, base))
    if kinds is None:
        calls = bind_functions(service, 'return self._call(__method, __arguments, {values})')
        kinds = {
            name: type(
                name,
                (base,),
                {
                    '__slots__': (),
                    '__call__': call,
                    '__doc__': call.__doc__,
                    '__name__': name,
                    'method': service.methods[name],
                },
            )
            for name, call in calls.items()
        }
        kinds = _kinds.setdefault((service, base), kinds)
    return kinds
