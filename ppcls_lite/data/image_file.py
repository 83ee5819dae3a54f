"""Reading an image file, for training, scoring and prediction alike."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

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
# Exceptions of Pillow's readers for damaged files.
_DAMAGED = (SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, OverflowError, ZeroDivisionError)


def load_image(path: str | Path, channels: int = 3, size: int | None = None) -> np.ndarray:
    """Read an image file as uint8 [C, H, W], rotated according to its EXIF data.

    The alpha channel is dropped, 16-bit gray is scaled to 8 bits, and only the first frame of an animation is read. A
    JPEG is decoded at the smallest scale (in eighths) whose shorter side is at least ``size``.

    Args:
        channels: 3 for color, 1 for gray (luma, ITU-R 601).
        size: resize the shorter side to it (bilinear, antialiased) and crop the central square; None keeps the
            stored size.

    Raises:
        UserError: the file is missing, damaged or not an image, or has more than 89 megapixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as damaged EXIF data
            # Pillow warns above 89 megapixels and raises above twice that: a small file may claim any size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open(path, "rb") as file:
                image = _read(file, channels, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS / 10**6
        raise UserError(f"{path}: it has more than {most:.0f} megapixels; use a smaller image") from None
    except (OSError, *_DAMAGED) as error:
        raise UserError(f"{path}: {_reason(error)}") from None
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class _Unsupported(ValueError):
    """Pixels of an unsupported type; the text is the reason."""


def _read(file: BinaryIO, channels: int, size: int | None) -> Image.Image:
    if os.fstat(file.fileno()).st_size <= MAX_JPEG_BYTES and file.peek(2)[:2] == b"\xff\xd8":
        file = io.BytesIO(file.read())  # read by both decoders
    with Image.open(file, formats=FORMATS) as opened:
        image = _decode_jpeg(file, opened, channels, size)
        if image is None:
            opened.load()  # also rotates a TIFF and clears its orientation tag
            image = _convert(opened, channels)
        try:
            rotation = _ORIENTATIONS.get(opened.getexif().get(_ORIENTATION_TAG))
        except _DAMAGED:
            rotation = None
    if size:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return image if rotation is None else image.transpose(rotation)


def _decode_jpeg(file: BinaryIO, opened: Image.Image, channels: int, size: int | None) -> Image.Image | None:
    """Decode a gray or color JPEG in memory with simplejpeg; None if it is another image, or simplejpeg fails."""
    if opened.format not in ("JPEG", "MPO") or opened.mode not in ("L", "RGB") or not isinstance(file, io.BytesIO):
        return None
    data = file.getbuffer()
    try:
        # Only the size that Pillow found has been checked, so the decoder must find the same.
        if simplejpeg.decode_jpeg_header(data)[:2] != (opened.height, opened.width):
            return None
        colorspace = "RGB" if channels == 3 else "GRAY"
        pixels = simplejpeg.decode_jpeg(data, colorspace, min_height=size or 0, min_width=size or 0)
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
