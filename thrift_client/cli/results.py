"""What came back from servers, as commands show it."""

from __future__ import annotations

import json
from typing import Any

from thrift.Thrift import TApplicationException, TException

from thrift_client import ThriftPool
from thrift_client.cli import idl, values
from thrift_client.cli.idl import Type
from thrift_client.core.service import Method
from thrift_client.errors import ThriftClientError


def type_of(method: Method) -> Type | None:
    """The type that a method returns; None for a void or oneway one."""
    success = None if method.oneway else idl.field(method.result, 'success')
    return None if success is None else success.type


def to_json(method: Method, value: Any) -> Any:
    """What a method returned, as JSON has it."""
    type_ = type_of(method)
    return None if type_ is None else values.to_json(type_, value)


def error_of(caller: Any, method: str, /, *args: Any, **kwargs: Any) -> BaseException | None:
    """Call, and return what a client raised or a pool's response has for an error."""
    error: BaseException | None = None
    try:
        found = caller.call(method, *args, **kwargs)
        if isinstance(caller, ThriftPool):
            error = found.exception
    except TException as exc:
        error = exc
    return error


def error_text(error: BaseException) -> str:
    """What a call raised, in one line: a declared exception with its fields."""
    name = type(error).__name__
    if isinstance(error, ThriftClientError):
        return f'{name}: {error}'
    if isinstance(error, TApplicationException):
        return f'{name}: {error.message}'
    if getattr(error, 'thrift_spec', None) is not None:
        return f'{name}: {json.dumps(values.struct_to_json(error), ensure_ascii=False)}'
    return f'{name}: {error}'
