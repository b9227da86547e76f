"""Replies and errors of servers, as commands show them."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

from thrift.Thrift import TApplicationException, TException

from thrift_client import ThriftPool, ThriftResponse
from thrift_client.cli import hints, output, safe, schema
from thrift_client.cli.exits import WIRE, code_of
from thrift_client.core.service import Method
from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError, server_label
from thrift_client.idl.shapes import is_struct


class Outcome(NamedTuple):
    """The outcome of one call: the server that served it, the error or None, value and ms."""

    server: str
    error: BaseException | None
    value: Any
    elapsed: float


def call(caller: Any, method: str, /, *args: Any, **kwargs: Any) -> Outcome:
    """Call a client or a pool, and return its outcome instead of raising it.

    Ctrl-C and mistakes in the call are raised.
    """
    server: Any = caller
    value: Any = None
    error: BaseException | None = None
    started = perf_counter()
    try:
        value = caller.call(method, *args, **kwargs)
        if isinstance(caller, ThriftPool):
            server, error = value.server, value.exception
            value = None if error is not None else value.value()
    except TException as exc:
        error = exc
        server = getattr(exc, 'server', None) or server
    elapsed = (perf_counter() - started) * 1000
    label = '' if isinstance(server, ThriftPool) else server_label(server)
    return Outcome(label, error, value, elapsed)


def is_answer(error: BaseException | None) -> bool:
    """Tell whether a server answered: with a value, or with an exception of its own."""
    return not isinstance(error, ThriftClientError)


def error_text(error: BaseException) -> str:
    """Return what a call raised: a declared exception with its fields, hints as flags."""
    name = type(error).__name__
    if isinstance(error, ThriftClientError):
        text = hints.for_shell(str(error))
        if _may_be_the_wire(error) and 'thrift-client probe' not in text:
            address = getattr(error.server, 'address', None) or getattr(error.server, 'name', None)
            text += f'; try: thrift-client probe {address}' if address else ''
    elif isinstance(error, TApplicationException):
        text = str(error.message)
    elif is_struct(type(error)):
        text = safe.as_json(schema.struct_to_json(error))
    else:
        text = str(error)
    return text if text.startswith(f'{name}: ') else f'{name}: {text}'


def response_object(method: Method, response: ThriftResponse[Any]) -> dict[str, Any]:
    """Return a server's answer or error as JSON."""
    assert response.server is not None
    found: dict[str, Any] = {'server': response.server.name}
    if response.exception is None:
        found['value'] = schema.to_json(method, response.value())
    else:
        found['error'] = error_text(response.exception)
    return found | {'elapsed': round(response.elapsed, 3)}


def response_text(method: Method, response: ThriftResponse[Any]) -> str:
    """Return a server's answer or error in one line."""
    if response.exception is None:
        return output.one_line(schema.to_json(method, response.value()))
    return error_text(response.exception)


def _may_be_the_wire(error: ThriftClientError) -> bool:
    if isinstance(error, (CallTimeout, ConnectionLost)):
        return hints.is_about_the_wire(error.hint or '')
    return code_of(error) == WIRE
