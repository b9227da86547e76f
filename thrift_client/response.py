"""What a call of a pool returns: a value or an exception, and the server that sent it."""

from __future__ import annotations

from functools import partial
from types import GenericAlias

from thrift.Thrift import TApplicationException

from thrift_client.errors import ThriftClientError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Generic, NoReturn, TypeVar

    from thrift_client.stats import AnyClient

    T = TypeVar('T')
else:
    T = None

    class Generic:
        """Stands for `typing.Generic`: a class that may be subscripted."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


class ThriftResponse(Generic[T]):
    """The answer of one server to one call.

    `server` is the pool's own SimpleClient that served the call (None if no server could be
    chosen), `exception` is what `value()` raises or None, `elapsed` is the time of the call
    in ms, `attempts` is how many attempts it took.
    """

    __slots__ = ('_headers', '_value', 'attempts', 'elapsed', 'server')

    server: AnyClient | None
    exception: BaseException | None = None
    _headers: Mapping[str, str] | None
    _value: Any

    def __init__(
        self, server: AnyClient | None, value: T | None = None, elapsed: float = 0.0
    ) -> None:
        self.server = server
        self._value = value
        self.elapsed = elapsed
        self.attempts = 1

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers of the reply; None where its transport has none."""
        return getattr(self, '_headers', None)  # most calls never set it

    def value(self) -> T:
        """Return the value that the server returned.

        Raises the server's exception, or the error that ended the call: the same one each
        time, with a traceback that doesn't grow.
        """
        return self._value  # type: ignore[no-any-return]

    def is_error(self) -> bool:
        """Tell whether `value()` raises."""
        return False

    def __repr__(self) -> str:
        what = f'{self._value!r} in {self.elapsed:.1f} ms'
        return f'<{type(self).__name__} {_name(self.server)}: {what}>'

    def __reduce__(self) -> tuple[Any, ...]:
        slots = [name for kind in type(self).__mro__ for name in kind.__dict__.get('__slots__', ())]
        headers = self.headers
        state = {name: getattr(self, name) for name in slots if hasattr(self, name)}
        state['server'] = _name(self.server)
        state['_headers'] = None if headers is None else dict(headers)
        return _restored, (type(self), state)

    if not TYPE_CHECKING:  # type checkers would accept each of these mistakes

        def __bool__(self) -> bool:
            return True  # not decided by `__len__`

        def __len__(self) -> NoReturn:
            raise _misused('has no length')

        def __iter__(self) -> NoReturn:
            raise _misused('is not iterable')

        def __contains__(self, value: object) -> NoReturn:
            raise _misused('is not a container')

        def __getitem__(self, key: object) -> NoReturn:
            raise _misused('is not subscriptable')

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith('_'):
                raise AttributeError(name)
            raise AttributeError(
                f'a response has no attribute {name!r}: call .value() for what the server returned'
            )


def _misused(what: str) -> TypeError:
    return TypeError(f'a response {what}: call .value() for what the server returned')


def _name(server: Any) -> Any:
    """Return the name of a server, for pickling: its client can't be pickled."""
    return getattr(server, 'name', server)


def _restored(kind: type[ThriftResponse[Any]], state: dict[str, Any]) -> ThriftResponse[Any]:
    response = object.__new__(kind)
    for name, value in state.items():
        setattr(response, name, value)
    return response


def _restored_with(
    kind: type[ThriftExceptionResponse[Any]],
    state: dict[str, Any],
    parts: tuple[type[BaseException], tuple[Any, ...], dict[str, Any]],
) -> ThriftResponse[Any]:
    of, args, fields = parts
    exception = of.__new__(of, *args)
    exception.__dict__.update(fields)
    return _restored(kind, state | {'exception': exception})


_new_response = partial(object.__new__, ThriftResponse)


def set_headers(response: ThriftResponse[Any], headers: Mapping[str, str] | None) -> None:
    """Set the headers of the reply on its response."""
    response._headers = headers


def begun(server: Any) -> ThriftResponse[Any]:
    """Return the response of a call that has begun; faster than `ThriftResponse(server)`."""
    response: ThriftResponse[Any] = _new_response()
    response.server = server
    response.attempts = 1
    return response


class ThriftExceptionResponse(ThriftResponse[T]):
    """A response whose `value()` raises."""

    __slots__ = ('_traceback', 'exception')

    def __init__(
        self, server: AnyClient | None, exception: BaseException, elapsed: float
    ) -> None:
        super().__init__(server, None, elapsed)
        if isinstance(exception, ThriftClientError):
            self.attempts = exception.attempts
        self.exception = exception
        self._traceback = exception.__traceback__
        if isinstance(exception, (ThriftClientError, TApplicationException)):
            exception.server = server

    def value(self) -> T:
        """Raise the exception that ended the call."""
        assert self.exception is not None
        try:
            raise self.exception.with_traceback(self._traceback)
        finally:
            del self  # the traceback holds this frame: a cycle that would keep connections

    def is_error(self) -> bool:
        """Tell whether `value()` raises."""
        return True

    def __repr__(self) -> str:
        what = f'{self.exception!r} in {self.elapsed:.1f} ms'
        return f'<{type(self).__name__} {_name(self.server)}: {what}>'

    def __reduce__(self) -> tuple[Any, ...]:
        restored, (kind, state) = super().__reduce__()
        exception, state['_traceback'] = state.pop('exception'), None
        if exception is None or isinstance(exception, ThriftClientError):
            return restored, (kind, state | {'exception': exception})
        # Pickled in parts, as a generated exception can't be modified, not even by pickle.
        fields = dict(exception.__dict__)
        if 'server' in fields and isinstance(exception, TApplicationException):
            fields['server'] = _name(self.server)
        parts = type(exception), exception.args, fields
        return _restored_with, (kind, state, parts)


def answered(
    response: ThriftResponse[T], value: T, elapsed: float
) -> ThriftResponse[T]:
    """Complete the response of a call that has begun with its value."""
    response._value = value
    response.elapsed = elapsed
    return response


def failed(
    response: ThriftResponse[Any], error: BaseException, elapsed: float
) -> ThriftExceptionResponse[Any]:
    """Return the response of a call that has failed in place of the one that it began with."""
    failure: ThriftExceptionResponse[Any] = ThriftExceptionResponse(
        response.server, error, elapsed
    )
    failure.attempts = response.attempts
    set_headers(failure, response.headers)
    return failure
