"""Images that are put together from several image files: a montage."""

from collections.abc import Sequence

import numpy as np

from ppcls_lite.data.dataset import Reading
from ppcls_lite.data.files import FileNames, ImageFiles
from ppcls_lite.data.image_file import ImageFile, load_image
from ppcls_lite.data.pipeline import Pipeline
from ppcls_lite.utils.errors import UserError


def load_montage(files: Sequence[ImageFile], montage: Sequence[int], channels: int, size: int) -> np.ndarray:
    """Read image files into the cells of one image, uint8 [C, size, size].

    The cells are squares, filled row by row; each shows the central square of its file, as ``load_image`` reads it.
    Cells without a file are black, and so is what the grid does not cover.

    Args:
        files: at most as many as there are cells.
        montage: rows and columns of cells.
        channels: 3 for color, 1 for gray.
        size: side of the whole image in pixels.

    Raises:
        UserError: a file cannot be read, or ``size`` is not a multiple of the longer side of the grid.
    """
    side = cell_side(montage, size)
    pixels = np.zeros((channels, size, size), np.uint8)
    for number, file in enumerate(files):
        row, column = (side * place for place in divmod(number, montage[1]))
        pixels[:, row : row + side, column : column + side] = load_image(file, channels, side)
    return pixels


def cell_side(montage: Sequence[int], size: int) -> int:
    """Side of a montage's cells in pixels.

    Raises:
        UserError: ``size`` is not a multiple of the longer side of the grid.
    """
    most = max(montage)
    if size % most:
        raise UserError(
            f"DataLoader.image_size is {size} px, expected a multiple of {most} for a montage of {montage[0]} x "
            f"{montage[1]} pictures, such as {max(1, size // most) * most}"
        )
    return size // most


class MontageFiles(ImageFiles):
    """Montages of image files, see :func:`load_montage`; a training pipeline transforms the finished montage.

    Args:
        names: the names of all files, those of an image one after the other.
        reading: how they are read; ``image_size`` is the side of a montage.
        per_image: number of files of an image.
        montage: rows and columns.

    Raises:
        UserError: the image size does not suit the montage, or ``reading`` crops resized images.
    """

    def __init__(self, names: FileNames, reading: Reading, per_image: int, montage: Sequence[int]):
        self.per_image, self.montage = per_image, tuple(montage)
        super().__init__(names, reading)
        cell_side(montage, reading.image_size)
        if reading.resize is not None:
            raise UserError(
                "DataLoader.eval_transforms would crop the outer pictures of a montage; leave it out, or use one "
                "column of images"
            )

    def load(self, index: int, pipeline: Pipeline | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        first = int(self.chosen[index]) * self.per_image
        files = [self.names.file(first + k) for k in range(self.per_image)]
        pixels = load_montage(files, self.montage, *self.shape[:2])
        return pixels if pipeline is None else pipeline.transform_array(pixels, rng)
