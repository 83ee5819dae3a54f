"""Reading an image file, for training, scoring and prediction alike."""

import functools
import io
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from ppcls_lite.data.transforms import Region, center_region, to_array
from ppcls_lite.utils.errors import UserError

# Pillow reads more formats, but some start other programs (EPS) or are poorly maintained.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MAX_JPEG_BYTES = 256 << 20  # Pillow reads larger files, in pieces

_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {_ORIENTATIONS[tag] for tag in (5, 6, 7, 8)}  # width and height
# Exceptions of Pillow's readers for damaged files.
_DAMAGED = (SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, OverflowError, ZeroDivisionError)


def load_image(path: str | Path, channels: int = 3, size: int | None = None, resize: int | None = None) -> np.ndarray:
    """Read an image file as uint8 [C, H, W].

    Args:
        channels: 3 for color, 1 for gray (luma, ITU-R 601).
        size: side of the central square that is cropped; None keeps the stored size.
        resize: resize the shorter side to it before the crop (bilinear, antialiased); by default ``size``.

    Raises:
        UserError: as :func:`load_region`.
    """
    if size is None:
        return to_array(load_region(path, channels), channels)
    center = functools.partial(center_region, size=size, resize=resize)
    return to_array(load_region(path, channels, center, resize or size), channels)


def load_region(
    path: str | Path,
    channels: int,
    region: Callable[[int, int], Region] | None = None,
    side: int | None = None,
) -> Image.Image:
    """Read a region of an image file as an 8-bit Pillow image, rotated according to its EXIF data.

    The alpha channel is dropped, 16-bit gray is scaled to 8 bits, and only the first frame of an animation is read. A
    JPEG is decoded at the smallest scale (in eighths) at which the region has at least the size that it is resized to.

    Args:
        channels: 3 for color, 1 for gray (luma, ITU-R 601).
        region: the region of an image of this width and height; None for all of it, in its stored size.
        side: decode a JPEG so that its shorter side is at least this, and only then ask for the region.

    Raises:
        UserError: the file is missing, damaged or not an image, or has more than 89 megapixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as damaged EXIF data
            # Pillow warns above 89 megapixels and raises above twice that: a small file may claim any size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open(path, "rb") as file:
                return _read(file, channels, region, side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS / 10**6
        raise UserError(f"{path}: it has more than {most:.0f} megapixels; use a smaller image") from None
    except (OSError, *_DAMAGED) as error:
        raise UserError(f"{path}: {_reason(error)}") from None


class _Unsupported(ValueError):
    """Pixels of an unsupported type; the text is the reason."""


def _read(file: BinaryIO, channels: int, region: Callable[[int, int], Region] | None, side: int | None) -> Image.Image:
    if os.fstat(file.fileno()).st_size <= MAX_JPEG_BYTES and file.peek(2)[:2] == b"\xff\xd8":
        file = io.BytesIO(file.read())  # read by both decoders
    with Image.open(file, formats=FORMATS) as opened:
        chosen, smallest = None, (side or 0, side or 0)
        if region is not None and side is None and isinstance(file, io.BytesIO):
            chosen = _choose(region, *opened.size, _rotation(opened))
            smallest = chosen.smallest_scale(*opened.size)
        image = _decode_jpeg(file, opened, channels, smallest)
        if image is None:
            chosen = None
            opened.load()  # also rotates a TIFF and clears its orientation tag
            image = _convert(opened, channels)
        rotation = _rotation(opened)
        if region is not None:
            stored = opened.size if chosen is not None else image.size
            chosen = chosen or _choose(region, *image.size, rotation)
            image = chosen.resize(image, (image.width / stored[0], image.height / stored[1]))
    return image if rotation is None else image.transpose(rotation)


def _rotation(opened: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATIONS.get(opened.getexif().get(_ORIENTATION_TAG))
    except _DAMAGED:
        return None


def _choose(region: Callable[[int, int], Region], width: int, height: int, rotation: Image.Transpose | None) -> Region:
    """The region of a stored image, asked for by the width and height that it has after its rotation."""
    return region(height, width).transpose() if rotation in _SWAPPING else region(width, height)


def _decode_jpeg(file: BinaryIO, opened: Image.Image, channels: int, smallest: tuple[int, int]) -> Image.Image | None:
    """Decode a gray or color JPEG in memory with simplejpeg; None if it is another image, or simplejpeg fails.

    Args:
        smallest: width and height that the image has at least; 0 for its full size.
    """
    if opened.format not in ("JPEG", "MPO") or opened.mode not in ("L", "RGB") or not isinstance(file, io.BytesIO):
        return None
    data = file.getbuffer()
    try:
        # Only the size that Pillow found has been checked, so the decoder must find the same.
        if simplejpeg.decode_jpeg_header(data)[:2] != (opened.height, opened.width):
            return None
        colorspace = "RGB" if channels == 3 else "GRAY"
        pixels = simplejpeg.decode_jpeg(data, colorspace, min_height=smallest[1], min_width=smallest[0])
    except ValueError:
        return None
    return Image.fromarray(pixels.reshape(pixels.shape[:2] if channels == 1 else pixels.shape))


def _convert(opened: Image.Image, channels: int) -> Image.Image:
    """Convert an image that Pillow decoded to 8-bit gray or color."""
    if opened.mode == "F":
        raise _Unsupported("its pixels are floating-point numbers, which are not supported")
    if opened.mode.startswith("I"):  # 16 bits per pixel, which convert() would clip at 255
        values = np.asarray(opened).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise _Unsupported("its pixels have 32 bits, which are not supported")
        opened = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return opened.convert("RGB" if channels == 3 else "L")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    reason = "it is damaged or cut off"
    if isinstance(error, _Unsupported):
        reason = str(error)
    elif isinstance(error, UnidentifiedImageError):
        reason = "it is not an image file that can be read"
    return f"{reason}; expected a JPEG, PNG, BMP, WebP, TIFF, GIF or PPM file"
