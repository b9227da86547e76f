"""Prompts and keys: what answers while a user types, in `shell` and in `all --watch`.

Read in this order: session (the lines of a shell), prompt, typing_ahead; watch and keys.
"""
