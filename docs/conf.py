"""Settings of the documentation: `make docs`, or sphinx-build with the package installed."""

import inspect
import sys
from pathlib import Path
from types import FunctionType

from sphinx.util.inspect import stringify_signature

HERE = Path(__file__).parent
# The extensions, the package and the services of the examples.
sys.path[:0] = [str(HERE / '_ext'), str(HERE.parent), str(HERE.parent / 'test' / 'gen-py')]

from thrift_client import __version__  # noqa: E402 - found through the path above

project = 'thrift_client'
author = 'the thrift_client authors'
copyright = 'the thrift_client authors, Apache-2.0'  # noqa: A001 - Sphinx calls it so
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
extensions += ['figures', 'tables', 'written']  # of _ext
exclude_patterns = ['_build', 'generated', '_ext']
myst_enable_extensions = ['colon_fence', 'deflist', 'attrs_inline']
myst_heading_anchors = 3
nitpicky = False

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_class_signature = 'mixed'
# Long signatures of annotations as they are written read better than resolved ones.
autodoc_preserve_defaults = True
default_role = 'code'  # docstrings have `names` in single backquotes
maximum_signature_line_length = 80
python_display_short_literal_types = True

html_theme = 'furo'
html_title = f'thrift_client {release}'
html_static_path = ['_static']
html_css_files = ['pages.css']
html_theme_options = {'navigation_with_keys': True}
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
pygments_style = 'friendly'
pygments_dark_style = 'github-dark'

# Copy buttons are for code, not for output; a prompt isn't copied, nor what follows its command.
copybutton_selector = 'div:not(.highlight-text) > div.highlight pre'
copybutton_prompt_text = '$ '
copybutton_line_continuation_character = '\\'

# Only links between pages are checked; others would need a network.
linkcheck_ignore = [r'^https?://']


def signature_of_init(app, what, name, obj, options, signature, returns):  # noqa: ARG001 - Sphinx calls it so
    """Show the arguments of `__init__` where `__new__` only chooses the class."""
    if what != 'class' or not isinstance(obj.__init__, FunctionType):
        return None
    if not isinstance(obj.__new__, FunctionType):
        return None
    bound = inspect.signature(obj.__init__.__get__(object()))
    return stringify_signature(bound, show_return_annotation=False), returns


def plain_signature(app, what, name, obj, options, signature, returns):  # noqa: ARG001 - Sphinx calls it so
    """Leave out the arguments of protocols and enums, and show a dataclass's factory as `...`."""
    if signature in ('(*args, **kwargs)', '(*args, **kwds)') and what == 'class':
        return '', returns
    if signature and '<factory>' in signature:
        return signature.replace('<factory>', '...'), returns
    return None


def link_options(app, what, name, obj, options, lines):  # noqa: ARG001 - Sphinx calls it so
    """Link the options from each class whose constructor accepts them."""
    if what != 'class' or not isinstance(obj.__init__, FunctionType):
        return
    parameters = inspect.signature(obj.__init__).parameters.values()
    if any(each.kind is each.VAR_KEYWORD and each.name == 'options' for each in parameters):
        lines += ['', '`**options`: see :doc:`/reference/options`.', '']


def setup(app):
    """Connect the functions above."""
    app.connect('autodoc-process-docstring', link_options)
    app.connect('autodoc-process-signature', signature_of_init)
    app.connect('autodoc-process-signature', plain_signature)
