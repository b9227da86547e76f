"""The config file: options as YAML, the user's own or one that `--config` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from thrift_client.cli.ui import click


def read_config(path: str | None) -> dict[Any, Any]:
    """Read a config file, or the user's where `path` is None. A usage error if it can't be."""
    file = Path(path) if path else default_config()
    if path is None and not file.is_file():
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding='utf-8')) or {}
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as exc:
        raise click.UsageError(f'cannot read the config file {file}: {exc}') from None
    if not isinstance(found, dict):
        raise click.UsageError(f'{file}: expected option: value on each line')
    return found


def default_config() -> Path:
    """Return where the user's own config file is."""
    home = os.environ.get('XDG_CONFIG_HOME') or Path('~/.config').expanduser()
    return Path(home, 'thrift-client', 'config.yaml')
