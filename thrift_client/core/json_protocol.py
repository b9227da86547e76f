"""Apache's JSON protocol, for structs that need it; it takes the values that others take."""

from __future__ import annotations

from math import isfinite, isnan
from operator import index

from thrift.protocol.TJSONProtocol import TJSONProtocol

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any


class JsonProtocol(TJSONProtocol):
    """Writes what Apache's protocol writes wrong: bools, integers, NaN and infinite doubles."""

    def writeBool(self, boolean: Any) -> None:
        """Write a bool. Apache's protocol writes False for anything but `True` itself."""
        super().writeBool(bool(boolean))

    def writeJSONNumber(self, number: Any, formatter: str = '{0}') -> None:
        """Write a number. Apache's protocol writes any value as an integer: `1.5`, `True`."""
        whole = formatter == '{0}'  # that of doubles has a precision
        super().writeJSONNumber(index(number) if whole else number, formatter)

    def writeDouble(self, dbl: float) -> None:
        """Write a double. Apache's protocol writes a bare `nan`, which no server reads."""
        if isfinite(dbl):
            super().writeDouble(dbl)
        else:
            self.writeJSONString('NaN' if isnan(dbl) else 'Infinity' if dbl > 0 else '-Infinity')
