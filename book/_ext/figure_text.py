"""The plain text of a notebook's picture becomes its alternative text in the book."""

from docutils import nodes


def _give(app, doctree: nodes.document) -> None:
    for bundle in doctree.findall(nodes.container):
        if bundle.get("nb_element") != "mime_bundle":
            continue
        plain = [part.astext() for part in bundle if part["mime_type"] == "text/plain"]
        for image in bundle.findall(nodes.image):
            image.setdefault("alt", " ".join(" ".join(plain).split()))


def setup(app) -> dict:
    # While every form of an output is still there; later the builder keeps the one that it shows.
    app.connect("doctree-read", _give)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
