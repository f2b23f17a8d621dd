"""What a search found: a list, a gallery in a notebook, a page that opens from disk."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from rsstudy.data.imagetext import BrokenImage, ImageTextSet, Taken
from rsstudy.data.reading import Files
from rsstudy.files import whole_file

THUMBNAIL = 224  # pixels of the longer side
STYLE = """<style>
.found { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px;
  list-style: none; padding: 0; margin: 12px 0 28px; font-size: 13px; overflow-wrap: anywhere; }
.found img, .found i { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; }
</style>"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{style}</head>
<body style="max-width: 1240px; margin: auto; padding: 8px 16px; font-family: sans-serif">
{body}
</body></html>
"""


class Hit(NamedTuple):
    """One that was found: rank from 1, cosine, picture, its row in the index, a found caption."""

    rank: int
    score: float
    filename: str
    row: int
    caption: str = ""


class Found(list[Hit]):
    """The best of an index for one query, best first."""

    def __init__(self, query: str, pictures: ImageTextSet, hits: Iterable[Hit]) -> None:
        super().__init__(hits)
        self.query, self.pictures = query, pictures

    def html(self, base: Path) -> str:
        """The query and its gallery, thumbnails inside, with links from the folder ``base``."""
        cards = "\n".join(f"<li>{_card(self.pictures, hit, base)}</li>" for hit in self)
        return f'<h2>{escape(self.query)}</h2>\n<ol class="found">\n{cards}\n</ol>'

    def _repr_html_(self) -> str:
        return STYLE + self.html(Path.cwd())


def write_page(found: Sequence[Found], file: Path) -> None:
    """A contact sheet of some queries: one HTML file that needs no network and no script.

    Raises:
        StudyError: it cannot be written.
    """
    title, body = "; ".join(f.query for f in found), "\n".join(f.html(file.parent) for f in found)
    with whole_file(file) as temporary:
        page = PAGE.format(title=escape(title), style=STYLE, body=body)
        temporary.write_text(page, encoding="utf-8")


def _card(pictures: ImageTextSet, hit: Hit, base: Path) -> str:
    try:
        image = Image.fromarray(pictures.images.decode(hit.row))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image.save(jpeg := io.BytesIO(), "JPEG", quality=85)
        source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
        shown = f'<img src="{source}" alt="picture {hit.rank}: {escape(hit.filename)}">'
    except BrokenImage:  # moved or damaged since it was indexed
        shown = "<i>not at hand</i>"
    name, images, row = escape(hit.filename), pictures.images, hit.row
    while isinstance(images, Taken):
        row, images = images.indices[row], images.images
    if isinstance(images, Files):
        path = (images.folder / images.paths[row]).resolve()
        link = path.as_uri()
        with suppress(ValueError):  # of another drive of Windows
            link = quote(Path(os.path.relpath(path, base.resolve())).as_posix())
        shown = f'<a href="{link}">{shown}'
        name += "</a>"
    caption = f"{escape(hit.caption)}<br>" if hit.caption else ""
    return f"{shown}<b>{hit.rank}</b> &nbsp;{hit.score:.3f}<br>{caption}{name}"
