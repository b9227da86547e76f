"""Apache's JSON protocol, for structs that need it; NaN and infinite doubles are corrected."""

from __future__ import annotations

from math import isfinite, isnan

from thrift.protocol.TJSONProtocol import TJSONProtocol


class JsonProtocol(TJSONProtocol):
    """Writes NaN and infinite doubles as the texts that Thrift's JSON has for them."""

    def writeDouble(self, dbl: float) -> None:
        """Write a double. Apache's protocol writes a bare `nan`, which no server reads."""
        if isfinite(dbl):
            super().writeDouble(dbl)
        else:
            self.writeJSONString('NaN' if isnan(dbl) else 'Infinity' if dbl > 0 else '-Infinity')
