#!/bin/sh
# Writes gen-py anew from the IDL files beside this script.
set -eu
cd "$(dirname "$0")"
rm -rf gen-py
for idl in test_if shared_base rich; do
    thrift --gen py "$idl.thrift"
done
# The command line scripts import by path and are of no use here.
find gen-py -name '*-remote' -delete
