"""Services without a compiler: from `.thrift` files, and from thriftpy2's classes.

`parse` turns a file's text into declarations, `resolve` gives their names a meaning, `classes`
and `service` make Python of them, and `load` keeps what was made. `types` describes the types
of all kinds of classes (loaded, thriftpy2's, gen-py's) in one way, which is what the C
extension, the pure protocols (`wire`) and `thrift_client.convert` are driven by.
"""
