"""A certificate for the servers, made for one run: what trusts it, and the file of the servers."""

import os
import ssl
import tempfile
from functools import cache
from pathlib import Path

from bench.speakers import CERTIFICATE


@cache
def _authority() -> ssl.SSLContext:
    """Make the certificate; servers find its file in the environment."""
    import trustme

    authority = trustme.CA()
    file = Path(tempfile.mkdtemp()) / 'server.pem'
    authority.issue_cert('127.0.0.1').private_key_and_cert_chain_pem.write_to_path(file)
    os.environ[CERTIFICATE] = str(file)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def trusting() -> ssl.SSLContext:
    """Return a client's context that trusts the servers. Raises ImportError without trustme."""
    return _authority()
