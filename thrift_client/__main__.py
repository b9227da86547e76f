"""`python -m thrift_client` is `thrift-client`; alone, it prints the versions of what runs."""

import os
import sys

from thrift_client.cli import main

# A shell that completes a command line asks without arguments, too.
if len(sys.argv) == 1 and '_THRIFT_CLIENT_COMPLETE' not in os.environ:
    sys.argv.append('--version')
main()
