"""`python -m thrift_client` is `thrift-client`; alone, it prints the versions of what runs."""

import sys

from thrift_client.cli import main

if len(sys.argv) == 1:
    sys.argv.append('--version')
main()
