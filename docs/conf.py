# SPDX-License-Identifier: Apache-2.0
"""Sphinx' configuration: Markdown pages (MyST), the Furo theme, and no access to the network."""

from __future__ import annotations

import logging
import re
from importlib.metadata import version as installed
from typing import Any

project = "securekit"
author = "The securekit developers"
project_copyright = "The securekit developers"
release = version = installed("securekit-platform")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
# Types of other packages are shown by name; an index of theirs would have to be fetched.
nitpicky = False

html_theme = "furo"
html_title = f"securekit {release}"
html_copy_source = False

# A section without pages yet is no mistake. The warning has no type, so `suppress_warnings` cannot name it.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "glob pattern" not in str(record.msg))


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx' application
    """Let the command line's help speak of patterns and prefixes, whose stars and underscores are no markup."""

    def escape(_app: object, _context: object, lines: list[str]) -> None:
        lines[:] = [re.sub(r"\*|_(?!\w)", r"\\\g<0>", line) for line in lines]

    def leave_out_nameless(_app: object, _context: object, lines: list[str]) -> None:
        """Leave out arguments that the help does not show: they are there to be refused."""
        parts = re.split(r"(?m)^(?=\.\. option::)", "\n".join(lines))
        lines[:] = "".join(part for part in parts if not re.match(r"\.\. option:: *\n", part)).split("\n")

    for part in ("description", "options"):
        app.connect(f"sphinx-click-process-{part}", escape)
    app.connect("sphinx-click-process-arguments", leave_out_nameless)
