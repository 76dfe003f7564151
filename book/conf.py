"""Settings of Sphinx; what depends on the run or the repository is added by `book.site`."""

from importlib.util import find_spec
from pathlib import Path

import yaml

from book.docstrings import escape, with_valid_defaults

HERE = Path(__file__).parent
CITATION = yaml.safe_load((HERE.parent / "CITATION.cff").read_text(encoding="utf-8"))

project = CITATION["title"].split(":")[0]
author = ", ".join(
    person.get("name") or f"{person['given-names']} {person['family-names']}"
    for person in CITATION["authors"]
)
release = CITATION["version"]
language = "en"
smartquotes_action = "De"  # dashes only: docstrings quote code
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["**/.ipynb_checkpoints"]
root_doc = "index"

# notebooks are shown as they were executed
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # outputs have tables and formulas
nb_ipywidgets_js = {}  # widgets need a kernel; their scripts would come from the network
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 6
myst_dmath_double_inline = True

default_role = "literal"  # docstrings write code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
add_module_names = False
nitpicky = True
# other packages are not in the book, type variables have no entry
nitpick_ignore_regex = [("py:.*", r"(?!oasis_utils\.).*|.*\.(Model|Array|Item|ascending)")]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_context = {"default_mode": "auto"}  # light or dark, as the system of the reader
html_copy_source = True
html_sourcelink_suffix = ""
html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the search is in the sidebar
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": (
        f"<p>{CITATION['license']} licence. To cite: {author}, <i>{CITATION['title']}</i>, version"
        f" {release}.</p>"
    ),
}
# one script without fonts or further files, so that formulas need no network
mathjax_path = "mathjax/tex-svg-full.js"


def _add_mathjax(app, error):
    from sphinx.util.fileutil import copy_asset_file

    found = find_spec("sphinx-mathjax-offline")
    if error is None and found and found.origin:
        package = Path(found.origin).parent
        target = Path(app.outdir, "_static", mathjax_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_asset_file(package / "static" / mathjax_path, target)


def setup(app):
    """Connect what no setting does."""
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", with_valid_defaults)
    app.connect("build-finished", _add_mathjax)
