"""Read a plain folder of pictures: no captions, no JSON, enough to be searched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from rsstudy.data.decoding import suffixes
from rsstudy.data.imagetext import PICTURES, ImageTextSet
from rsstudy.data.reading import Files, Row, assemble
from rsstudy.errors import StudyError


class Listed(Files):
    """Pictures of a plain folder: known by path, size and time of change, since it may be large."""

    def content(self, index: int) -> bytes:
        """A sha256 of path, size and time of change; the file itself is not read."""
        path, facts = self.paths[index], ""
        with suppress(OSError):  # a link to nothing is a broken picture like others
            of = (self.folder / path).stat()
            facts = f"{of.st_size} {of.st_mtime_ns}"
        return hashlib.sha256(os.fsencode(f"{self.folder.resolve() / path} {facts}")).digest()


def read_pictures(folder: Path) -> ImageTextSet | None:
    """The pictures below a folder in order of their names, in the split "pictures"; None if none.

    A picture is known by its suffix. Hidden files and folders, linked folders, and names that are
    no UTF-8, are left out.

    Raises:
        StudyError: a sub-folder cannot be read.
    """
    if not (paths := sorted(_pictures(folder))):
        return None
    rows = [Row(str(path), PICTURES, ()) for path in paths]
    return assemble(folder.resolve().name, rows, Listed(folder, paths))


def _pictures(folder: Path) -> Iterator[PurePosixPath]:
    def refuse(problem: OSError) -> None:
        raise StudyError(f"{problem.filename} cannot be read ({problem.strerror})")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name).relative_to(folder).as_posix()
            is_text = path == path.encode(errors="ignore").decode()
            if Path(name).suffix.lower() in suffixes() and not name.startswith(".") and is_text:
                yield PurePosixPath(path)
