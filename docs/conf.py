"""How Sphinx builds the pages: ``make docs`` writes them to build/docs, without a network."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]

project = "PinLab"
author = "the PinLab authors"
release = _PROJECT["version"]
extensions = ["myst_parser"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["requirements*"]
nitpicky = True

html_theme = "furo"
html_title = f"PinLab {release}"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
