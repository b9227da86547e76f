"""`python -m thrift_client` is `thrift-client`."""

from thrift_client.cli import main

main()
