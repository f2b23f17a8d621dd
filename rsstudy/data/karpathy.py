"""Read a set from a Karpathy JSON and its image folder, the form these sets are published in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field, TypeAdapter

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import Row, named, parsed, set_of_files
from rsstudy.errors import StudyError

JSON = "dataset*.json"
OF_THE_HUB = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
KARPATHY = 'Karpathy JSON, {"images": [{"filename", "split", "sentences": [{"raw"}]}]}'


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
    published = parsed(file, TypeAdapter(Published), KARPATHY)
    rows = [
        Row(str(of.path), of.split, [sentence.raw for sentence in of.sentences], named(of.scene))
        for of in published.images
    ]
    return set_of_files(file, name or published.dataset or file.parent.resolve().name, rows)


def captions_files(path: Path) -> list[Path]:
    """The files of a folder that are named like a Karpathy JSON; or the given JSON."""
    if path.is_file():
        return [path] if path.suffix == ".json" else []
    return sorted(file for file in path.glob(JSON) if file.name not in OF_THE_HUB)


def _only_json(folder: Path) -> Path:
    files = captions_files(folder)
    if not files:
        raise StudyError(f"{folder} holds no {JSON}; give the folder or the file that does")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise StudyError(f"{folder} holds several sets ({names}); give the path of one of them")
    return files[0]
