"""The version of the package: the only place that defines it."""

__version__ = '1.0.0.dev0'
