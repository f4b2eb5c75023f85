"""Formulas as MathML, which browsers show without a script and without a network."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging


def _write(self, node: nodes.Node, block: bool):
    try:
        self.body.append(tex2mathml(re.sub(r"\\dots\b", r"\\ldots", node.astext()), as_block=block))
    except (SyntaxError, ValueError) as e:  # docutils 0.21, 0.22
        logging.getLogger(__name__).warning("formula cannot be read: %s", e, location=node)
    raise nodes.SkipNode


def setup(app):
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (lambda self, node: _write(self, node, False), None),
                               (lambda self, node: _write(self, node, True), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
