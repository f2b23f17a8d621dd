"""The book by Sphinx alone, without the package jupyter-book: `make book-sphinx`.

Every setting is that of _config.yml; what jupyter-book adds to it by itself is said here.
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
own = config["sphinx"]["config"]

sys.path += [str(ROOT / folder) for folder in config["sphinx"]["local_extensions"].values()]
globals().update(own)
extensions = [name for name in own["extensions"] if name != "jupyter_book"]
extensions += ["sphinx_multitoc_numbering"]

html_title, author, copyright = config["title"], config["author"], config["copyright"]
exclude_patterns = [*config["exclude_patterns"], "_build", "**.ipynb_checkpoints"]
external_toc_path = "book/_toc.yml"
external_toc_exclude_missing = config["only_build_toc_files"]
nb_execution_mode = config["execute"]["execute_notebooks"]
myst_enable_extensions = config["parse"]["myst_enable_extensions"]
myst_url_schemes = ["mailto", "http", "https"]
bibtex_bibfiles = [str(ROOT / path) for path in config["bibtex_bibfiles"]]
numfig = True
suppress_warnings = ["myst.domains"]

html_theme = "sphinx_book_theme"
html_static_path = [str(ROOT / path) for path in own["html_static_path"]]
html_sourcelink_suffix = ""
# The theme of 2025 has a search bar of its own beside that of the sidebar.
html_theme_options = own["html_theme_options"] | {"navbar_persistent": []}
