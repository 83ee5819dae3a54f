"""Reading one image file."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppcls_lite.errors import UserError

# Pillow knows more, of which some start other programs (EPS) or are rarely looked after.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")


def read_image(path: str | Path, channels: int = 3, size: int | None = None) -> np.ndarray:
    """An image file as float32 [C, H, W] in [0, 1], upright as its EXIF data say.

    Args:
        channels: 3 for colour, 1 for gray.
        size: resize the shorter side to it (bilinear) and cut the middle square out; by default as it is.

    Raises:
        UserError: no such file, or no image that Pillow reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF data that are damaged, and the like
            # From 89 megapixels on Pillow warns, from twice that it refuses: a file of kilobytes may claim any size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                if file.mode == "F":
                    raise ValueError
                image = ImageOps.exif_transpose(file)
                if file.mode.startswith("I"):  # 16 bits a pixel, which converting would cut off at 255
                    image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
                image = image.convert("RGB" if channels == 3 else "L")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS / 10**6
        raise UserError(f"{path}: it has more than {most:.0f} megapixels; name a smaller one") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no image file that can be read"
        raise UserError(f"{path}: {reason}; name a JPEG or PNG file") from None
    if size:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / 255
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
