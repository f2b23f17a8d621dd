"""Read a set from Parquet shards in the Hugging Face image layout."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rsstudy.data.imagetext import ImageTextSet
from rsstudy.data.reading import SPLITS, Row, Stored, assemble, caption_columns, named, texts_of
from rsstudy.errors import StudyError

# The hub's own uploads may carry a hash after the number of shards.
SHARD = re.compile(r"([a-z]+)(?:-(\d+)-of-(\d+))?(?:-[0-9a-f]{16})?\.parquet")


@dataclass(frozen=True)
class Encoded(Stored):
    """Pictures kept as the encoded bytes that the shards hold."""

    filenames: Sequence[str]
    contents: Sequence[pa.Buffer]

    def read(self, index: int) -> tuple[pa.Buffer, str]:
        return self.contents[index], self.filenames[index]


def read_parquet(
    folder: Path, name: str | None = None, captions: str | None = None
) -> ImageTextSet:
    """The set whose shards lie in ``folder`` (or in its sub-folder ``data``, as on the hub).

    Shards are named ``train-00000-of-00002.parquet`` (also test, val, valid, validation) and hold
    the columns image {bytes, path}, captions (a list of texts, or one text; also called caption,
    text or sentences) and, where there are any, filename and class. Without filename the image's
    path is the name; without that, its number in the split. Names that stand in several splits
    take the split before them.

    Args:
        captions: the column of the captions, if it has another name.

    Raises:
        StudyError: the folder or a shard is missing, unreadable or not in this layout; a filename
            stands twice in a split; an image has no bytes. The message names the file.
    """
    folder, rows = Path(folder), []
    contents: list[pa.Buffer] = []
    counts: Counter[str] = Counter()
    for split, shard in _shards(folder):
        for filename, texts, scene, content in zip(*_read_shard(shard, captions), strict=True):
            filename = f"{counts[split]:06}" if filename is None else filename
            counts[split] += 1
            if not filename:
                raise StudyError(f"{shard}: a row has no filename; name every image")
            if content is None:
                raise StudyError(
                    f"{shard}: image {filename} has no bytes; embed the pictures in the shards"
                )
            rows.append(Row(filename, split, [text or "" for text in texts], named(scene)))
            contents.append(content)
    images = Encoded([row.path for row in rows], contents)
    return assemble(name or folder.resolve().name, rows, images)


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder, else those of its sub-folder ``data``."""
    if folder.is_file():
        return [folder] if folder.suffix == ".parquet" else []
    return sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))


def _shards(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) for every shard of ``folder``, in the order of their names."""
    if not folder.exists():
        raise StudyError(f"{folder} is not a folder; give the folder that holds the shards")
    files = parquet_files(folder)
    if not files:
        raise StudyError(f"{folder} holds no Parquet shards (train-00000-of-00001.parquet ...)")
    series: dict[tuple[str, int], set[int]] = defaultdict(set)
    shards = []
    for file in files:
        match = SHARD.fullmatch(file.name)
        if not match or match[1] not in SPLITS:
            raise StudyError(
                f"{file}: its name does not tell the split; "
                "name it like train-00000-of-00001.parquet (or test-, val-)"
            )
        shards.append((SPLITS[match[1]], file))
        if match[2]:
            series[match[1], int(match[3])].add(int(match[2]))
    for (split, total), present in series.items():
        absent = [
            f"{split}-{number:05}-of-{total:05}.parquet"
            for number in range(total)
            if number not in present
        ]
        if absent:
            raise StudyError(f"{files[0].parent} lacks {', '.join(absent[:3])}; get the whole set")
    return shards


def _read_shard(shard: Path, wanted: str | None) -> tuple[list, list, list, list]:
    """Filename (None if only numbers tell), captions, class and the image's bytes of each row."""
    try:
        table = pq.read_table(shard, memory_map=True)
        table.validate(full=True)  # texts that are no UTF-8 would fail much later
    except (pa.ArrowException, OSError) as problem:
        why = " ".join(str(problem).split())
        raise StudyError(f"{shard} cannot be read ({why}); get the file again") from problem
    has = table.schema.names
    image = table.schema.field("image").type if "image" in has else None
    if image is None or not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise StudyError(
            f"{shard} lacks the column image as a struct {{bytes, path}}; "
            f"it has {', '.join(has) or 'none'}"
        )
    columns = caption_columns(has, wanted, shard)
    for column in columns:
        if not _is_text(table.schema.field(column).type):
            raise StudyError(f"{shard}: the column {column} holds no texts; write texts")
    contents = [value.as_buffer() for value in pc.struct_field(table["image"], "bytes")]
    names: list[str | None] = [None] * len(contents)
    if "filename" in has:
        names = ["" if name is None else str(name) for name in table["filename"].to_pylist()]
    elif image.get_field_index("path") >= 0:
        paths = pc.struct_field(table["image"], "path").to_pylist()
        names = [None if path is None else str(path) for path in paths]
    scenes = _scenes(table)
    rows = table.select(columns).to_pylist()
    return names, [texts_of(row, columns) for row in rows], scenes, contents


def _scenes(table: pa.Table) -> list[Any]:
    """The classes; of numbers the names that the hub's own metadata has for them."""
    column = next((of for of in ("class", "label") if of in table.schema.names), None)
    if column is None:
        return [None] * len(table)
    found = table[column].to_pylist()
    said = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    names = said.get("info", {}).get("features", {}).get(column, {}).get("names")
    return [names[of] if names and of is not None else of for of in found]


def _is_text(column: pa.DataType) -> bool:
    is_list = pa.types.is_list(column) or pa.types.is_large_list(column)
    value = column.value_type if is_list else column
    return pa.types.is_string(value) or pa.types.is_large_string(value)
