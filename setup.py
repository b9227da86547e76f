"""For tools without support for pyproject.toml, which declares everything."""

from setuptools import setup

setup()
