"""Configure Sphinx: `make docs` builds the site into docs/_build."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

from alexlab import __version__  # noqa: E402

project = "alexlab"
author = "The alexlab contributors"
project_copyright = author
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "_reports", "studies"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
html_theme = "furo"
html_title = "alexlab"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_reports"]  # the published reports, made by generate.py


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for pages; mend links while it reads them."""
    generate.write_all(HERE)
    app.connect("source-read", read)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Change the text of a page as Sphinx reads it."""
    source[0] = generate.with_site_links(source[0])
