"""Services without a compiler: from `.thrift` files, and from thriftpy2's classes.

`parse` turns a file's text into declarations (`syntax`), `resolve` and `values` resolve the
names and constants in them, `classes` and `service` create Python classes, and `load` caches
the modules. `types` describes the types of all kinds of classes (loaded, thriftpy2's, gen-py's)
in one form, which `shapes`, `foreign` and `genpy` find. The C extension, the pure protocols
(`wire`) and `thrift_client.convert` use it.
"""
