"""What tests of code that calls Thrift services need."""

from thrift_client.testing.serve import Server, serve

__all__ = ['Server', 'serve']
