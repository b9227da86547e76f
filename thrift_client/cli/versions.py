"""Installed versions for a bug report; needs only `thrift`, so it works without the extra."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from typing import NamedTuple

import thrift_client
from thrift_client.shared.platform import SYSTEM

DISTRIBUTION = 'thrift_client'

_PLATFORM = re.compile(r'sys_platform\s*([!=]=)\s*["\'](\w+)["\']')
_REQUIREMENT = re.compile(r'([A-Za-z0-9_.-]+).*;.*extra\s*==\s*["\']([\w-]+)["\']')


class Extra(NamedTuple):
    """An extra of the package: what is installed of it, with versions, and what is missing."""

    name: str
    present: dict[str, str]
    missing: list[str]


def extras() -> list[Extra]:
    """Return the package's extras, as its metadata lists them; none where it was not installed."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or ()
    except importlib.metadata.PackageNotFoundError:
        return []
    found: dict[str, Extra] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match[1].replace('-', '_') == DISTRIBUTION:
            continue
        if _is_elsewhere(requirement):
            continue
        extra = found.setdefault(match[2], Extra(match[2], {}, []))
        version = version_of(match[1])
        if version is None:
            extra.missing.append(match[1])
        else:
            extra.present[match[1]] = version
    return sorted(found.values())


def _is_elsewhere(requirement: str) -> bool:
    """Tell whether a requirement is for another operating system."""
    marker = _PLATFORM.search(requirement)
    return marker is not None and (marker[1] == '==') != (marker[2] == SYSTEM)


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_c_extension() -> bool:
    """Tell whether Thrift's C extension can be imported."""
    try:
        import thrift.protocol.fastbinary  # noqa: F401 - whether it can be
    except ImportError:
        return False
    return True


def compiler() -> str | None:
    """Return the path of the thrift compiler, or None."""
    return shutil.which('thrift')


def versions() -> dict[str, str]:
    """Return the versions of thrift_client, thrift, Python and the system, by name."""
    return {
        'thrift_client': thrift_client.__version__,
        'thrift': version_of('thrift') or 'not installed as a distribution',
        'C extension': 'present' if has_c_extension() else 'missing',
        'Python': f'{platform.python_version()} ({sys.implementation.name})',
        'system': ' '.join((platform.system(), platform.machine(), *platform.libc_ver())).strip(),
        'extras': ', '.join(e.name for e in extras() if not e.missing) or 'none',
    }


def summary() -> str:
    """Return all versions, a line each."""
    found = versions()
    width = max(map(len, found))
    return '\n'.join(f'{name.ljust(width)}  {value}' for name, value in found.items())
