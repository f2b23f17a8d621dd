"""``rsstudy search`` and ``rsstudy embed``: look for pictures, and write their vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rsstudy.errors import StudyError
from rsstudy.experiments import options
from rsstudy.experiments.options import DATA, ENCODER, PATH, SPLIT, Once, flag, option
from rsstudy.experiments.show import show

THERE = click.Path(exists=True, dir_okay=False, path_type=Path)
MODEL = (
    option("--adapter", f"Folder of a run, or a name in {options.ADAPTERS}.", options.ADAPTER),
    option("--encoder", "Without --adapter, searches as it is. With it: its base.", ENCODER),
    option("--split", "Only the pictures of this split; else all.", SPLIT),
    options.data_root,
    options.device,
)


def by_model(command: Any) -> Any:
    """Give a command the options that say which pictures, and what embeds them."""
    for decorate in reversed(MODEL):
        command = decorate(command)
    return command


@click.command("search", cls=Once, short_help="Find pictures by text, or by a picture.")
@click.argument("texts", nargs=-1)
@option("--image", "Find pictures like the one in this file.", THERE)
@flag("--captions", "With --image: find the set's captions for it.")
@option("--data", "The pictures: a folder, a known set, a JSON, or generated scenes.", DATA)
@option("--index file", "Search in this Parquet file of `rsstudy embed`.", THERE)
@by_model
@option("--top", "How many are found.", click.IntRange(1), 12)
@option("--html page", "Write a contact sheet here: a page that opens from disk.", PATH)
@options.as_json
def search_command(
    texts: tuple[str, ...], data: str | None, file: Path | None, as_json: bool, **given: Any
) -> None:
    """Find the pictures that fit each of TEXTS best, or that are most like a picture.

    \b
      rsstudy search "planes beside a terminal" --data FOLDER --adapter my-run --html found.html

    Any folder of pictures will do; no captions are needed. Vectors are kept in the cache: the next
    search of the same pictures by the same encoder decodes none of them.
    """
    image, captions, page, top = (given.pop(n) for n in ("image", "captions", "page", "top"))
    if not (texts or image) or not all(text.strip() for text in texts):
        raise StudyError('write a text to search, "planes beside a terminal", or give --image FILE')
    if captions and image is None:
        raise StudyError("--captions are those for a picture: give --image FILE")
    if data is None and (file is None or page or captions or given["split"]):
        why = " beside --index, for its pictures and captions" if file else ""
        raise StudyError(f"give --data FOLDER or NAME{why}")
    if page is not None and page.is_dir():
        raise StudyError(f"{page} is a folder: let --html name a file")
    encoder, pictures = _opened(data, **given)

    from rsstudy.found import write_page
    from rsstudy.search import index, read_index

    made = read_index(file, encoder, pictures) if file else index(encoder, pictures)
    found = [made.search(text, top) for text in texts]
    if image is not None:
        found.append(made.captions(image, top) if captions else made.like(image, top))
    if page is not None:
        write_page(found, page)
    if as_json:
        answer = [{"query": of.query, "results": [hit._asdict() for hit in of]} for of in found]
        return click.echo(json.dumps(answer, indent=2))
    columns = ["rank", "score", "filename", *(["caption"] if captions else [])]
    for of in found:
        click.echo(f"{of.query}\n")
        rows = [hit._asdict() | {"score": round(hit.score, 4)} for hit in of]
        show([{name: row[name] for name in columns} for row in rows])
        click.echo()


@click.command("embed", cls=Once, short_help="Write the vectors of pictures.")
@option("--data", "A folder, a known set, a JSON, or generated scenes.", DATA, required=True)
@option("--out", "The file to write, .parquet or .npy.", PATH, required=True)
@by_model
def embed_command(data: str, out: Path, **given: Any) -> None:
    """Write a unit vector for each picture: Parquet (name, vector), or .npy and .npy.json (names).

    `rsstudy search --index FILE.parquet` searches in it; pandas, DuckDB and others read it.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise StudyError(f"{out}: name the file .parquet or .npy")
    if out.resolve().parent in (Path(data).resolve(), Path(data).resolve() / "data"):
        raise StudyError(f"{out} lies in {data}, and would be taken for a part of the set: move it")
    encoder, pictures = _opened(data, **given)

    from rsstudy.adapters import ADAPTER
    from rsstudy.files import sha256_of
    from rsstudy.search import index

    made, adapter = index(encoder, pictures), given["adapter"]
    made.save(out, {"adapter_sha256": sha256_of(adapter / ADAPTER)} if adapter else {})
    click.echo(f"{out}: {len(made.filenames):,} vectors of {made.vectors.shape[1]} numbers")


def _opened(
    data: str | None, adapter: Path | None, split: str | None, data_root: Path | None, **given: Any
) -> tuple[Any, Any]:
    """The encoder, and the pictures (None without ``data``)."""
    name, device = given["encoder"], given["device"]
    if adapter is None and name is None:
        raise StudyError("give --adapter DIR, or --encoder NAME to search with it as it is")
    if adapter is not None and not adapter.exists():
        raise StudyError(f"no adapter at {adapter}: give the folder that `rsstudy train` made")

    from rsstudy.adapters import open_encoder
    from rsstudy.data.sources import load

    pictures = load(data, data_root) if data else None
    if pictures and split:
        pictures = pictures.split(split)
    return open_encoder(adapter, name or "", device), pictures
