"""Makes a Python whose `PYTHONPATH` has this folder one of a system that lacks much of Linux's.

Python imports it before anything else but `os`, so that the standard library, too, is what it
is where these names don't exist: `socketpair` goes through TCP, `selectors` through `select`.
"""

import importlib
import os
import sys

from missing import MODULES, NAMES

#: The modules in C that the ones of the table take their names from.
IN_C = {'socket': '_socket', 'signal': '_signal'}
#: What is not made for Windows.
EXTRAS = ('uvloop', 'gevent')

early = [name for name in ('socket', 'selectors', 'signal', 'threading') if name in sys.modules]
if early:
    raise RuntimeError(f'something has imported {", ".join(early)} before')
for name, gone in NAMES.items():
    module = os if name == 'os' else importlib.import_module(IN_C.get(name, name))
    for attribute in gone:
        if hasattr(module, attribute):
            delattr(module, attribute)
for name in (*MODULES, *EXTRAS):
    sys.modules[name] = None  # an import of it raises ImportError
