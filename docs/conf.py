"""Settings of Sphinx for the documentation site. docs/build.sh calls it; docs/sitemaker/ writes the pages it reads."""

from lstmp import __version__

project = "lstmp"
copyright = "the lstmp authors, Apache-2.0"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sitemaker.docstrings", "sitemaker.mathml"]

# Markdown as code-hosting services read it
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_allow_space = False
html_math_renderer = "mathml"

# docstrings
default_role = "code"  # `name` in a docstring is code
add_module_names = False
autodoc_member_order = "bysource"
autodoc_mock_imports = ["k2", "triton", "onnx", "onnxruntime"]  # not in every environment
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries = False
# -n reports references to what is not documented, except classes of other packages and type variables
nitpick_ignore_regex = [("py:class", r"(?!lstmp\.).*"), ("py:class", r"lstmp\.([\w.]+\.)?(T|Item|Result|Search)")]

html_static_path = ["sitemaker/style.css"]
html_css_files = ["style.css"]
html_theme = "furo"
html_title = f"lstmp {release}"
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
