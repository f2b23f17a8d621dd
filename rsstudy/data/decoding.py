"""From a picture file's bytes to upright uint8 RGB."""

from __future__ import annotations

import io
import logging
from functools import cache

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsstudy.data.imagetext import BrokenImage

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
MOST_PIXELS = 2**26
"""A picture of more pixels (8192 x 8192) is refused: it is a mistake or an attack on memory."""

ORIENTATION, EXTRA_SAMPLES = 274, 338  # tags of EXIF and TIFF
STRETCH = (2, 98)
"""Percentiles that become 0 and 255 in a picture of more than 8 bits, as QGIS shows it."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GDAL = "gdal_translate -ot Byte -scale -b 1 -b 2 -b 3"

log = logging.getLogger(__name__)


@cache
def suffixes() -> frozenset[str]:
    """How the names of pictures end, in lower case: ``.jpg`` and so on."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, of in known if of in FORMATS)


def decode_bytes(data: bytes, filename: str) -> np.ndarray:
    """A picture file's content as uint8 RGB of shape (height, width, 3), upright.

    Palettes, greyscale and CMYK are converted; transparent parts are laid on white; the EXIF
    orientation is applied; of several frames the first counts. Of a TIFF of 8 bits the first three
    bands count; a fourth is alpha only where the file says so. One band of 16 or 32 bits is
    stretched from its 2nd to its 98th percentile. Several of 16 bits are refused.

    Raises:
        BrokenImage: it is no whole picture of a known format, or one of too many pixels or bits.
    """

    def broken(why: str) -> BrokenImage:
        return BrokenImage(f"{filename}: broken image ({why}); replace it or take it out")

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise broken(f"{opened.width} x {opened.height} pixels are too many")
            if len(opened.getbands()) > 1 and ";16" in str(opened.tile):
                raise broken(f"several bands of 16 bits: write 8 bits, {GDAL}")
            tags = getattr(opened, "tag_v2", {EXTRA_SAMPLES})  # a TIFF has some
            image = _upright(opened)
        if image.mode.startswith(("I", "F")):
            image = Image.fromarray(_stretched(np.asarray(image)))
        elif image.has_transparency_data and EXTRA_SAMPLES not in tags:
            _say_once("the first three of four bands of a TIFF are read")
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except BrokenImage:
        raise
    except UnidentifiedImageError:
        tiff = data[:4] in (b"II*\0", b"MM\0*")
        why = f"bands or bits that Pillow does not read: write three of 8 bits, {GDAL}"
        raise broken(why if tiff else "not a picture of a known format") from None
    except Exception as problem:  # Pillow's decoders raise nearly anything on damaged input
        raise broken(" ".join(str(problem).split()) or type(problem).__name__) from problem


def _upright(opened: Image.Image) -> Image.Image:
    """``ImageOps.exif_transpose`` writes all of EXIF anew, and fails where one field is odd."""
    opened.load()  # a TIFF is upright after it, without the tag
    try:
        orientation = opened.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF beside a whole picture
        return opened.copy()
    turn = TURNS.get(orientation or 1)
    return opened.copy() if turn is None else opened.transpose(turn)


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = STRETCH
    _say_once(f"values of more than 8 bits are stretched, percentiles {low} to {high} to 0 to 255")
    known = np.isfinite(values)
    least, most = np.percentile(values[known], STRETCH) if known.any() else (0, 0)
    share = (np.where(known, values, least) - least) / (most - least or 1)
    return (255 * share.clip(0, 1)).round().astype(np.uint8)


@cache
def _say_once(rule: str) -> None:
    log.warning("pictures: %s", rule)
