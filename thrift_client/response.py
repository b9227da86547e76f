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

    exception: BaseException | None = None
    _headers: Mapping[str, str] | None

    def __init__(self, server: Any, value: Any = None, elapsed: float = 0.0) -> None:
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
        name = getattr(self.server, 'name', None)
        return f'<{type(self).__name__} {name}: {self._value!r} in {self.elapsed:.1f} ms>'

    if not TYPE_CHECKING:  # every attribute would be one to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith('_'):
                raise AttributeError(name)
            raise AttributeError(
                f'a response has no attribute {name!r}: call .value() for what the server returned'
            )


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

    def __init__(self, server: Any, exception: BaseException, elapsed: float) -> None:
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
        raise self.exception.with_traceback(self._traceback)

    def is_error(self) -> bool:
        """Tell whether `value()` raises."""
        return True

    def __repr__(self) -> str:
        name = getattr(self.server, 'name', None)
        return f'<{type(self).__name__} {name}: {self.exception!r} in {self.elapsed:.1f} ms>'
