#!/bin/sh
# Writes this folder's package anew: the same IDL as each kind of Python code.
set -eu
cd "$(dirname "$0")"
rm -rf variants

gen() {  # kind, IDL file
    package=${1%.interface}
    mkdir -p "variants/$package"
    options="py:package_prefix=variants.$package."
    [ "$1" = default ] || options="$options,$1"
    # -nowarn: that fields without ids are no good idea is known here.
    thrift -nowarn --allow-neg-keys -out "variants/$package" --gen "$options" "$2.thrift"
}

for kind in default slots dynamic enum; do
    gen $kind variant_base
    gen $kind variant
done
gen zope.interface variant_base
gen zope.interface variant
for kind in twisted tornado; do
    gen $kind variant_base  # not a kind that clients can use; they have to say so
done
touch variants/__init__.py
find variants -name '*-remote' -delete
