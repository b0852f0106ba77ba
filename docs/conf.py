"""Settings of Sphinx: ``make docs`` builds this folder into build/docs, and a warning ends the build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import generated_pages

import mtmoe

project = "mtmoe"
version = release = mtmoe.__version__
extensions = ["myst_parser", "sphinx_click", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["reference/generated"]  # pages of reference/ include what is in there

# A heading can be linked to as on GitHub: [text](page.md#a-heading).
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_include_init_with_doc = True

html_theme = "furo"
html_title = f"mtmoe {version}"


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx reads, and keep the help of commands from being read as markup."""
    app.connect(
        "config-inited", lambda app, config: generated_pages.write(Path(app.srcdir) / "reference" / "generated")
    )
    for part in ("description", "epilog"):
        app.connect(f"sphinx-click-process-{part}", lambda app, context, lines: generated_pages.plain_text(lines))
    app.connect("autodoc-process-docstring", lambda app, what, name, value, options, lines: _leave_out_aliases(lines))


def _leave_out_aliases(lines: list[str]) -> None:
    """Empty the docstring that Python itself gives to each field of a named tuple."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
