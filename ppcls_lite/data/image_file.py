"""Reading an image file, for training, scoring and prediction alike."""

import functools
import io
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
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
MIN_FACTOR = 1.2  # decoding at 7/8 takes longer than at full size

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
# What leads from the upright image to the stored one: swap the axes, then mirror those of the stored image.
_SWAPPING = {_ORIENTATIONS[tag] for tag in (5, 6, 7, 8)}
_MIRRORING_X = {_ORIENTATIONS[tag] for tag in (2, 3, 7, 8)}
_MIRRORING_Y = {_ORIENTATIONS[tag] for tag in (3, 4, 6, 7)}
_WITH_ORIENTATION = (b"Exif", b"http://ns.adobe.com/xap")  # what only Pillow parses
_COLORSPACES = ("Gray", "YCbCr", "RGB")
# Exceptions of Pillow's readers for damaged files.
_DAMAGED = (SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, OverflowError, ZeroDivisionError)


@dataclass(frozen=True)
class FileBytes:
    """The contents of a file inside an archive, in place of a path; ``name`` is for messages."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


ImageFile = str | Path | FileBytes


def load_image(path: ImageFile, channels: int = 3, size: int | None = None, resize: int | None = None) -> np.ndarray:
    """Read an image file as uint8 [C, H, W].

    Args:
        path: its path, or its contents.
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
    path: ImageFile,
    channels: int,
    region: Callable[[int, int], Region] | None = None,
    side: int | None = None,
) -> Image.Image:
    """Read a region of an image file as an 8-bit Pillow image, rotated according to its EXIF data.

    The alpha channel is dropped, 16-bit gray is scaled to 8 bits, and only the first frame of an animation is read. A
    JPEG is decoded at the smallest scale (in eighths) at which the region has at least the size that it is resized to.

    Args:
        path: its path, or its contents.
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
            with io.BytesIO(path.data) if isinstance(path, FileBytes) else open(path, "rb") as file:
                return _read(file, channels, region, side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS / 10**6
        raise UserError(f"{path}: it has more than {most:.0f} megapixels; use a smaller image") from None
    except (OSError, *_DAMAGED) as error:
        raise UserError(f"{path}: {_reason(error)}") from None


class _Unsupported(ValueError):
    """Pixels of an unsupported type; the text is the reason."""


def _read(file: BinaryIO, channels: int, region: Callable[[int, int], Region] | None, side: int | None) -> Image.Image:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(2)
    file.seek(0)
    if start == b"\xff\xd8" and size <= MAX_JPEG_BYTES:
        data = file.read()
        image = _read_jpeg(data, channels, region, side)
        if image is not None:
            return image
        file = io.BytesIO(data)
    with Image.open(file, formats=FORMATS) as opened:
        opened.load()  # also rotates a TIFF and clears its orientation tag
        image, rotation = _convert(opened, channels), _rotation(opened)
    if region is not None:
        image = _choose(region, *image.size, rotation).resize(image)
    return image if rotation is None else image.transpose(rotation)


def _rotation(opened: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATIONS.get(opened.getexif().get(_ORIENTATION_TAG))
    except _DAMAGED:
        return None


def _choose(region: Callable[[int, int], Region], width: int, height: int, rotation: Image.Transpose | None) -> Region:
    """The region of a stored image of this size, asked for by the size that it has after its rotation."""
    swapped = rotation in _SWAPPING
    chosen = region(height, width).transpose() if swapped else region(width, height)
    left, top, right, bottom = chosen.box
    if rotation in _MIRRORING_X:
        left, right = width - right, width - left
    if rotation in _MIRRORING_Y:
        top, bottom = height - bottom, height - top
    return chosen._replace(box=(left, top, right, bottom))


def _read_jpeg(
    data: bytes, channels: int, region: Callable[[int, int], Region] | None, side: int | None
) -> Image.Image | None:
    """Decode a gray or color JPEG with simplejpeg; None if it is another image, or simplejpeg fails."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colorspace not in _COLORSPACES:
        return None
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    rotation = None
    if any(mark in data for mark in _WITH_ORIENTATION):
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as opened:
            rotation = _rotation(opened)
    chosen, smallest, factor = None, (side or 0, side or 0), 1.0
    if region is not None and side is None:
        chosen = _choose(region, width, height, rotation)
        smallest, factor = chosen.smallest_scale(width, height), MIN_FACTOR
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGB" if channels == 3 else "GRAY",
            min_height=smallest[1],
            min_width=smallest[0],
            min_factor=factor,
        )
    except ValueError:
        return None
    pixels = pixels if channels == 3 else pixels[..., 0]
    if chosen is not None:
        scale = 8 * pixels.shape[1] // width / 8  # exact; a scaled image's sides are rounded up
        pixels = chosen.resize_pixels(pixels, scale)
    image = Image.fromarray(pixels)
    if region is not None and chosen is None:
        image = _choose(region, *image.size, rotation).resize(image)
    return image if rotation is None else image.transpose(rotation)


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
