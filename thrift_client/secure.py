"""TLS without sockets: the default context, and what its failures are called."""

from __future__ import annotations

import ssl
from typing import Any

from thrift_client.core.call import READING
from thrift_client.errors import CertificateError, ThriftClientError, TLSError, WireMismatch

_default: ssl.SSLContext | None = None

#: What OpenSSL calls bytes that are no TLS record.
NOT_TLS = ('WRONG_VERSION_NUMBER', 'PACKET_LENGTH_TOO_LONG', 'RECORD_LAYER_FAILURE', 'HTTP_REQUEST')
MAYBE_PLAIN = 'if the server speaks no TLS, leave ssl out'


def context_of(given: Any) -> ssl.SSLContext:
    """The context of an `ssl` option: True is the system's CAs, with host names checked.

    That one is made once, because loading the CAs takes a while.
    """
    global _default
    if given is not True:
        return given  # type: ignore[no-any-return]
    if _default is None:
        _default = ssl.create_default_context()
    return _default


def handshake_failed(exc: Exception, session: Any, name: str) -> ThriftClientError:
    """What a failed handshake with the server `name` is called."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return failed(exc, 'shaking hands')
    text = f"the certificate for {name!r} isn't accepted: {exc.verify_message}"
    names = _names(session)
    if names:
        text += f'; it is for {", ".join(names)}'
    return CertificateError(text, phase='shaking hands')


def failed(exc: Exception, phase: str) -> ThriftClientError:
    """What a failed handshake, or an alert that came later, is called."""
    reason = getattr(exc, 'reason', None) or str(exc)
    sent = phase in READING
    if reason in NOT_TLS:
        return WireMismatch(
            "the server's first bytes are no TLS", phase=phase, hint='leave ssl out'
        )
    hint = None
    if 'CERTIFICATE' in reason or 'UNKNOWN_CA' in reason or 'HANDSHAKE_FAILURE' in reason:
        text = f'the server refused: {reason}'
        hint = 'it may want a client certificate that it trusts (context.load_cert_chain)'
    elif isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        text = 'the server hung up'
        if phase == 'shaking hands':
            text, hint = f'{text} during the handshake', MAYBE_PLAIN
    else:
        text = f'TLS failed: {reason}'
    return TLSError(text, phase=phase, maybe_executed=sent, hint=hint)


def _names(session: Any) -> list[str]:
    """The names in the certificate that was refused, where this Python tells."""
    try:
        chain = session._sslobj.get_unverified_chain()
        info = chain[0].get_info()
    except Exception:  # noqa: BLE001 - a detail of an error; nothing depends on it
        return []
    return [value for _, value in info.get('subjectAltName', ())]
