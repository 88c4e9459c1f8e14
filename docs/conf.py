"""Configure the site: `make docs` builds it with Sphinx into build/docs, offline, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for autodoc

from reviewlm import __version__  # noqa: E402
from reviewlm.reference import write_pages  # noqa: E402

project = "ReviewLM"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**.ipynb_checkpoints"]
highlight_language = "none"
default_role = "code"  # single backticks of docstrings

html_theme = "furo"
html_title = f"ReviewLM {__version__}"
html_show_copyright = html_copy_source = html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

myst_heading_anchors = 4  # the anchors that GitHub makes
nb_execution_mode = "off"  # notebooks are committed with their output
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

DOCS = ROOT / "docs"
LINK = re.compile(r'\[([^\]\["]*)\]\((\.\./[^)\s#]*)[^)\s]*\)')


def name_files_of_the_project(
    app: Sphinx,
    docname: str,
    source: list[str],
) -> None:
    """Show a link to a file of the project that is no page as the file's path; a dead one stays, and is an error."""
    folder = (DOCS / docname).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return link[0]
        path = target.relative_to(ROOT).as_posix()
        return link[1] if path in link[1] else f"{link[1]} (`{path}`)"

    source[0] = LINK.sub(shown, source[0])


def setup(app: Sphinx) -> None:
    """Write the pages that are made from the code, and let Sphinx call the function above for every page."""
    write_pages()
    app.connect("source-read", name_files_of_the_project)
