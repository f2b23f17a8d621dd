"""Read a set from a Karpathy JSON and its image folder, the form these sets are published in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field, ValidationError

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import Row, named, set_of_files
from rsstudy.errors import StudyError
from rsstudy.files import first_misfit

JSON = "dataset*.json"


class Sentence(BaseModel):
    raw: str


class Entry(BaseModel):
    filename: str
    split: str
    sentences: list[Sentence]
    filepath: str = ""
    scene: str | int | None = Field(None, alias="class")

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.filepath, self.filename)


class Published(BaseModel):
    """The part of the JSON that is read; further fields (tokens, numbers) may be there."""

    images: list[Entry]
    dataset: str | None = None


def read_karpathy(path: Path, name: str | None = None) -> ImageTextSet:
    """The set of a JSON file, or of the one ``dataset*.json`` in a folder.

    The pictures lie beside the JSON or in one sub-folder of any name. "restval" counts as train.
    The scene class is the field "class" of an image; without any, names like ``airport_12.jpg``
    tell it.

    Raises:
        StudyError: the JSON is missing, damaged or of another structure; it names pictures that
            are absent or lie outside the folder, or none. The message names the file.
    """
    path = Path(path)
    file = path if path.is_file() else _only_json(path)
    published = _parse(file)
    rows = [
        Row(str(of.path), of.split, [sentence.raw for sentence in of.sentences], named(of.scene))
        for of in published.images
    ]
    return set_of_files(file, name or published.dataset or file.parent.name, rows)


def captions_files(path: Path) -> list[Path]:
    """The files of a folder that are named like a Karpathy JSON; or the given JSON."""
    return [path] if path.is_file() and path.suffix == ".json" else sorted(path.glob(JSON))


def _only_json(folder: Path) -> Path:
    files = captions_files(folder)
    if not files:
        raise StudyError(f"{folder} holds no {JSON}; give the folder or the file that does")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise StudyError(f"{folder} holds several sets ({names}); give the path of one of them")
    return files[0]


def _parse(file: Path) -> Published:
    try:
        return Published.model_validate_json(file.read_bytes())
    except OSError as problem:
        raise StudyError(f"{file} cannot be read ({problem.strerror})") from problem
    except ValidationError as problem:
        raise StudyError(
            f"{file} is no Karpathy JSON ({first_misfit(problem)}); it needs "
            '{"images": [{"filename", "split", "sentences": [{"raw"}]}]}'
        ) from problem
