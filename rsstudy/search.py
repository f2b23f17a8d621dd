"""Search a set's pictures by text or by picture: each is embedded once, and its vector kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rsstudy.data.decoding import decode_bytes
from rsstudy.data.imagetext import PICTURES, BrokenImage, ImageTextSet
from rsstudy.data.pixels import DECODING_VERSION, each_picture, fit, picture_digest
from rsstudy.data.reading import Files, Row, assemble
from rsstudy.data.sources import load
from rsstudy.encoders import DualEncoder, encoder_version
from rsstudy.errors import StudyError
from rsstudy.files import cache_folder, whole_file
from rsstudy.found import Found, Hit
from rsstudy.methods import attached
from rsstudy.progress import Progress
from rsstudy.retrieval import distinct, distinct_rows
from rsstudy.tensors import kept, state_sha256

BATCH = 128  # pictures or texts that are embedded at once
PART = 2048  # pictures of one file of the cache: what an interruption loses at most
ROUNDING = 1e-5  # more than a float32 product of unit vectors is off
META = "rsstudy"

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False, eq=False)
class Index:
    """Pictures and their vectors in an encoder's joint space.

    Attributes:
        pictures: names, captions and where the pictures lie; N of them, the broken ones left out.
        vectors: unit vectors (N, d) in float32, on the CPU.
        encoder: made the vectors, and makes those of the queries.
        digest: of the encoder; see ``digest_of``.
        state: of the encoder's parameters, by which a later change is noticed.
    """

    pictures: ImageTextSet
    vectors: Tensor
    encoder: DualEncoder
    digest: str
    state: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Index({self.pictures.name}: {len(self.filenames)} pictures, {self.encoder.name})"

    @property
    def filenames(self) -> tuple[str, ...]:
        """The pictures' names, one a vector."""
        return self.pictures.filenames

    def search(self, text: str, top: int = 12) -> Found:
        """The pictures that fit a text best; equal scores are in the set's order.

        Raises:
            StudyError: the encoder was changed since.
        """
        return self._found(text, *best(self.vectors, self._texts([text])[0], top))

    def like(self, picture: str | Path, top: int = 12) -> Found:
        """The pictures most like the one in a file; the file itself, where it is indexed, too.

        Raises:
            OSError: the file cannot be read.
            StudyError: it is no whole picture, or the encoder was changed since.
        """
        rows, scores = best(self.vectors, self._picture(picture), top)
        return self._found(f"pictures like {Path(picture).name}", rows, scores)

    def captions(self, picture: str | Path, top: int = 12) -> Found:
        """The set's captions that fit a picture best; each with the first picture that has it.

        Raises:
            StudyError: the set has no captions, else as ``like``.
        """
        if not any(self.pictures.captions):
            raise StudyError(f"{self.pictures.name} has no captions to choose from")
        query = self._picture(picture)
        texts, text_of, image_of = distinct(self.pictures.captions)
        first = image_of[np.unique(text_of, return_index=True)[1]]
        key = f"texts-{_sha256(self.digest, texts)}"
        vectors = _kept(key, lambda: {"vectors": self._texts(texts)})["vectors"]
        rows, scores = best(vectors, query, top)
        said = [texts[row] for row in rows]
        return self._found(f"captions for {Path(picture).name}", first[rows].tolist(), scores, said)

    def save(self, file: Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write names and vectors: ``.parquet`` (name, vector), or ``.npy`` with a ``.npy.json``.

        Args:
            facts: more to say of the encoder, in the file's metadata (key "rsstudy") or the JSON.

        Raises:
            StudyError: it has another name, or cannot be written.
        """
        if file.suffix not in (".parquet", ".npy"):
            raise StudyError(f"{file}: name the file .parquet or .npy")
        of, flat = self.encoder, self.vectors.numpy().ravel()
        said = {"encoder": of.architecture, "image_size": of.image_size, "digest": self.digest}
        said |= {"weights": sorted(of.weights.values()), **(facts or {})}
        with whole_file(file) as temporary, open(temporary, "wb") as out:
            if file.suffix == ".parquet":
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), self.vectors.shape[1])
                table = pa.table({"name": pa.array(self.filenames), "vector": vectors})
                pq.write_table(table.replace_schema_metadata({META: json.dumps(said)}), out)
                return
            np.save(out, self.vectors.numpy())
            with whole_file(Path(f"{file}.json")) as names:
                names.write_text(json.dumps({**said, "names": self.filenames}), encoding="utf-8")

    def _found(
        self, query: str, rows: list[int], scores: list[float], captions: Sequence[str] = ()
    ) -> Found:
        every = enumerate(zip(rows, scores, captions or [""] * len(rows), strict=True), 1)
        hits = (Hit(n, score, self.filenames[row], row, text) for n, (row, score, text) in every)
        return Found(query, self.pictures, hits)

    @torch.no_grad()
    def _picture(self, path: str | Path) -> Tensor:
        picture = decode_bytes(Path(path).read_bytes(), str(path))
        fitted = torch.from_numpy(fit(picture, self.encoder.image_size)[None].copy())
        return self._current().embed_images(fitted)[0].cpu()

    @torch.no_grad()
    def _texts(self, texts: list[str]) -> Tensor:
        encoder, vectors = self._current(), []
        for tokens in encoder.tokenizer(texts).split(BATCH):
            longest = int(encoder.lengths(tokens).max())
            vectors.append(encoder.embed_texts(tokens[:, :longest]).cpu())
        return torch.cat(vectors)

    def _current(self) -> DualEncoder:
        if self.state != _state(self.encoder):
            raise StudyError("the encoder was changed since the pictures were indexed: index anew")
        return self.encoder.eval()


def index(
    encoder: DualEncoder,
    pictures: ImageTextSet | str | Path,
    split: str | None = None,
    progress: bool = True,
) -> Index:
    """Embed pictures, or read their vectors from the cache folder where they were embedded before.

    They are kept by the contents of the pictures (in a plain folder: name, size and time of
    change) and by the encoder's digest. Broken pictures are named in a warning and left out.

    Args:
        pictures: a set, a known name, or a folder; one without any captions, too.
        split: only its pictures.

    Raises:
        StudyError: the set or the split is absent, or every picture is broken.
    """
    whole = pictures if isinstance(pictures, ImageTextSet) else load(pictures)
    whole = whole.split(split) if split else whole
    digest, parts, good = digest_of(encoder), [], []
    shown: dict[str, Any] = {"desc": f"indexing {whole.name}", "unit": " images", "delay": 1}
    with Progress(total=len(whole), disable=not progress, **shown) as bar:
        for start in range(0, len(whole), PART):
            part = whole.take(range(len(whole))[start : start + PART])
            parts.append(_part(encoder, digest, part, bar))
            good += (parts[-1].pop("rows") + start).tolist()
            bar.update(start + len(part) - bar.n)
    if broken := [whole.filenames[row] for row in sorted({*range(len(whole))} - {*good})]:
        some = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        log.warning("%d of %d pictures are broken, left out: %s", len(broken), len(whole), some)
    if not good:
        raise StudyError(f"{whole.name}: every picture is broken; `rsstudy data check` says why")
    vectors, digests = (torch.cat([part[n] for part in parts]) for n in ("vectors", "digests"))
    first, row_of = distinct_rows(digests)
    if len(first) < len(vectors):  # another batch rounds differently: copies would not tie
        vectors = vectors[torch.from_numpy(first[row_of])]
    return Index(whole.take(good), vectors, encoder, digest, _state(encoder))


def read_index(file: Path, encoder: DualEncoder, pictures: ImageTextSet | None = None) -> Index:
    """The index in a Parquet file that ``Index.save`` wrote.

    Args:
        pictures: the set it was made of, to show the pictures and to have their captions.

    Raises:
        StudyError: the file is damaged, of another encoder, adapter or image size, or names a
            picture that the set lacks.
    """
    try:
        table = pq.read_table(file)
        said = json.loads(table.schema.metadata[META.encode()])
        names, digest = table["name"].to_pylist(), said["digest"]
        flat = table["vector"].combine_chunks().flatten().to_numpy()
        vectors = torch.from_numpy(flat.reshape(len(names), -1).copy())
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as problem:
        why = " ".join(str(problem).split())
        raise StudyError(f"{file} is no index of `rsstudy embed` ({why}): make it anew") from None
    if digest != digest_of(encoder):
        by, here = said.get("encoder"), encoder.architecture
        other = f"{by}, not by {here}" if by != here else "another adapter, weights or image size"
        raise StudyError(f"{file} was made by {other}: name what made it, or `rsstudy embed` anew")
    if pictures is None:
        images = Files(file.parent / "absent", names)
        pictures = assemble(file.stem, [Row(name, PICTURES, ()) for name in names], images)
    place = {name: row for row, name in enumerate(pictures.filenames)}
    if absent := next((name for name in names if name not in place), None):
        raise StudyError(f"{file} names {absent}, which {pictures.name} lacks")
    taken = pictures.take([place[name] for name in names])
    return Index(taken, vectors, encoder, digest, _state(encoder))


def best(vectors: Tensor, query: Tensor, top: int) -> tuple[list[int], list[float]]:
    """Rows and cosines of the best of unit vectors (N, d) for one (d), equal ones by row.

    What comes near is multiplied again, in float64 and row by row: a product of matrices may round
    equal rows differently.
    """
    rough = vectors @ query
    least = rough.topk(min(max(top, 1), len(rough))).values[-1]
    rows = torch.nonzero(rough >= least - ROUNDING).flatten()
    exact = (vectors[rows].double() * query.double()).sum(1).float()
    order = torch.argsort(exact, descending=True, stable=True)[:top]
    return rows[order].tolist(), exact[order].tolist()


def digest_of(encoder: DualEncoder) -> str:
    """sha256 of what a vector depends on: weights, method and settings, form of the pictures."""
    form = [encoder.image_size, encoder.mean.tolist(), encoder.std.tolist(), DECODING_VERSION]
    of = [encoder.architecture, encoder_version(encoder.name)]
    carried = attached(encoder)
    method = repr(carried.method) if carried else ""
    return _sha256(of, method, form, state_sha256(encoder))


@torch.no_grad()
def _part(
    encoder: DualEncoder, digest: str, part: ImageTextSet, bar: Progress
) -> dict[str, Tensor]:
    """Rows of the whole pictures (n), their vectors (n, d) and digests (n, 32), kept or made."""

    def read(row: int) -> tuple[int, np.ndarray, bytes] | None:
        with suppress(BrokenImage):
            picture = part.images.decode(row)
            return row, fit(picture, encoder.image_size), picture_digest(picture)
        return None

    def embed() -> dict[str, Tensor]:
        encoder.eval()
        rows, digests, batch = [], bytearray(), []
        vectors = [torch.empty(0, encoder.joint_width)]
        for number, found in enumerate(each_picture(part, read, progress=False), 1):
            if found is not None:
                rows.append(found[0])
                batch.append(found[1])
                digests += found[2]
            if len(batch) == BATCH or (batch and number == len(part)):
                vectors.append(encoder.embed_images(torch.from_numpy(np.stack(batch))).cpu())
                batch.clear()
            bar.update()
        return {
            "rows": torch.tensor(rows, dtype=torch.int64),
            "vectors": torch.cat(vectors),
            "digests": torch.tensor(digests, dtype=torch.uint8).reshape(-1, 32),
        }

    return _kept(_sha256(digest, part.fingerprint()), embed)


def _kept(name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the cache has by a name, else what is computed."""
    return kept(cache_folder() / "index" / f"{name}.safetensors", "embedding", compute)


def _state(encoder: DualEncoder) -> tuple[int, ...]:
    return id(encoder.method), sum(p._version for p in encoder.parameters())


def _sha256(*facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
