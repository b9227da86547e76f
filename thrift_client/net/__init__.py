"""Blocking I/O: sockets, connections, and the stacks that keep them."""
