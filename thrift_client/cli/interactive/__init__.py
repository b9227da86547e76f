"""Prompts and keys: what answers while a user types, in `shell` and in `all --watch`."""
