"""A notebook's cells that are tagged in-dropdown go into the dropdown right above them.

A dropdown is written in a cell of text; a figure or table that belongs into it is another cell's.
"""

from docutils import nodes
from sphinx.util.logging import getLogger


def move(app, doctree: nodes.document) -> None:
    for cell in list(doctree.findall(nodes.container)):
        if "tag_in-dropdown" not in cell["classes"]:
            continue
        above = cell.parent[max(cell.parent.index(cell) - 1, 0)]
        if isinstance(above, nodes.Element) and above.get("design_component") == "dropdown":
            cell.parent.remove(cell)
            above += cell
        else:
            getLogger(__name__).warning("no dropdown is right above this cell", location=cell)


def setup(app) -> dict:
    app.connect("doctree-read", move)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
