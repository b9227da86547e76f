"""For tools that know no pyproject.toml, where everything is declared."""

from setuptools import setup

setup()
