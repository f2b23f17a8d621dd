"""What every reader does alike: decode a picture's bytes, and make a set of named pictures."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rsstudy.data.imagetext import BrokenImage, Images, ImageTextSet
from rsstudy.errors import StudyError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
MOST_PIXELS = 2**26
"""A picture of more pixels (8192 x 8192) is refused: it is a mistake or an attack on memory."""
SPLITS = {"train": "train", "restval": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)


def decode_bytes(data: bytes, filename: str) -> np.ndarray:
    """A picture file's content as uint8 RGB of shape (height, width, 3), upright.

    Palettes, greyscale and CMYK are converted; transparent parts are laid on white; 16-bit grey
    values lose their lower byte; the EXIF orientation is applied; of several frames the first
    counts.

    Raises:
        BrokenImage: it is no whole picture of a known format, or one of too many pixels.
    """

    def broken(why: str) -> BrokenImage:
        return BrokenImage(f"{filename}: broken image ({why}); replace it or take it out")

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise broken(f"{opened.width} x {opened.height} pixels are too many")
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise broken(f"mode {image.mode} has no fixed range of values; save it as 8-bit RGB")
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except BrokenImage:
        raise
    except UnidentifiedImageError:
        raise broken("not a picture of a known format") from None
    except Exception as problem:  # Pillow's decoders raise nearly anything on damaged input
        raise broken(" ".join(str(problem).split()) or type(problem).__name__) from problem


def assemble(
    name: str,
    filenames: Sequence[str],
    captions: Sequence[Sequence[str]],
    splits: Sequence[str],
    classes: Sequence[str | None],
    images: Images,
) -> ImageTextSet:
    """The set of these pictures; a folder that all the names share is dropped from them.

    Some packs of a public set keep the folder in the name ("rsicd_images/park_1.jpg") and some do
    not; without it, their manifests agree.

    Raises:
        StudyError: there is no picture, a name stands twice, or a caption is no text.
    """
    if not filenames:
        raise StudyError(f"{name} holds no images")
    paths = [PurePosixPath(filename) for filename in filenames]
    if len({path.parent for path in paths}) == 1:
        filenames = [path.name for path in paths]
    twice = [filename for filename, count in Counter(filenames).items() if count > 1]
    if twice:
        raise StudyError(
            f"{name}: {len(twice)} filename(s) stand more than once, the first {twice[0]!r}; "
            "every image needs a name of its own"
        )
    for filename, texts in zip(filenames, captions, strict=True):
        if not all(isinstance(text, str) for text in texts):
            raise StudyError(f"{name}: {filename} has a caption that is no text; write a text")
    return ImageTextSet(
        name=name,
        filenames=tuple(filenames),
        captions=tuple(tuple(texts) for texts in captions),
        splits=tuple(splits),
        classes=tuple(classes),
        images=images,
    )
