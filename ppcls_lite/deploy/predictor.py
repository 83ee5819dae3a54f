"""Predictions for image files, by a network in any runtime."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.data import BatchLoader, Reading
from ppcls_lite.data.fields import Fields
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.sources.table import read_rows
from ppcls_lite.deploy.runtimes import Runtime
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """The prediction for an image or a row of a table.

    Args:
        place: the image file, or the file and line of the row.
        values: a result of :meth:`Task.decode`.
        cells: the row's cells by column, or the image file as ``image``.
        image: the image file, if there is one.
    """

    place: str
    values: dict[str, Any]
    cells: dict[str, str]
    image: Path | None = None

    def row(self, task: Task) -> dict[str, Any]:
        """A row of a table of predictions: the cells, then those of :meth:`Task.row`.

        A column that is among the cells is called ``predicted_NAME``.
        """
        predicted = task.row(self.values)
        return self.cells | {f"predicted_{key}" if key in self.cells else key: v for key, v in predicted.items()}


@dataclass(frozen=True)
class Predictor:
    """A network in a runtime, with the metadata that describes its input and output."""

    metadata: Metadata
    run: Runtime
    task: Task = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "task", self.metadata.restore_task())

    def predict(self, images: np.ndarray | None, table: np.ndarray | None = None) -> list[dict[str, Any]]:
        """Predictions; see :meth:`Task.decode`.

        Args:
            images: pixels, uint8 [N, C, H, W]; None for a network that takes a table alone.
            table: float32 [N, width], see ``Fields.encode``.

        Raises:
            UserError: the network's output does not have the shape that the metadata say.
        """
        inputs = [] if images is None else [self.metadata.normalization(images)]
        return self.task.decode(self._outputs(inputs if table is None else [*inputs, table]))

    def _outputs(self, inputs: list[np.ndarray]) -> np.ndarray:
        """The network's outputs; for a fixed batch size, inputs are split into batches and padded with zeros."""
        size, total = self.metadata.batch_size, len(inputs[0])
        if size is None:
            return self._run(inputs)
        padded = [np.concatenate([one, np.zeros((-total % size, *one.shape[1:]), one.dtype)]) for one in inputs]
        parts = [self._run([one[i : i + size] for one in padded]) for i in range(0, len(padded[0]), size)]
        return np.concatenate(parts)[:total]

    def _run(self, inputs: list[np.ndarray]) -> np.ndarray:
        outputs = self.run(*inputs)
        expected = (len(inputs[0]), self.task.outputs)
        if outputs.shape != expected:
            raise UserError(
                f"the output of the network {self.metadata.name} has shape {list(outputs.shape)}, expected "
                f"{list(expected)} as in its metadata; export it again"
            )
        return outputs

    def predict_files(self, files: Iterable[Path], batch_size: int) -> Iterator[Prediction | tuple[Path, str]]:
        """Predict image files in batches, resized and cropped to the network's input.

        Yields:
            A prediction, or for an unreadable image its file and the reason. Predictions are in the order of ``files``;
            unreadable images come earlier.
        """
        columns = self.metadata.columns
        if columns is not None and (columns.width or len(columns.images) != 1):
            raise UserError(
                f"the network {self.metadata.name} takes rows of a table, not single images; give a CSV file with the "
                f"columns {', '.join((*columns.images, *columns.numbers, *columns.categories))}"
            )
        names, images = [], []
        for file in files:
            try:
                images.append(load_image(file, self.metadata.channels, self.metadata.image_size, self.metadata.resize))
            except UserError as error:
                yield file, str(error)
                continue
            names.append(file)
            if len(images) == batch_size:
                yield from self._predict_batch(names, images)
                names, images = [], []
        if images:
            yield from self._predict_batch(names, images)

    def _predict_batch(self, names: list[Path], images: list[np.ndarray]) -> Iterator[Prediction]:
        for name, values in zip(names, self.predict(np.stack(images)), strict=True):
            yield Prediction(str(name), values, {"image": str(name)}, name)

    def predict_rows(self, path: Path, root: str | None, batch_size: int) -> Iterator[Prediction]:
        """Predict the rows of a CSV file in batches; rows with unreadable images are logged and left out.

        Args:
            path: with the columns that the network takes, or a column ``image`` of image files.
            root: the folder or tar archive of images; None for the folder of ``path``.

        Raises:
            UserError: the file is invalid or lacks one of these columns.
        """
        about = self.metadata
        fields = about.columns or Fields(images=("image",))
        reading = Reading(about.channels, about.image_size or 0, skip=True, resize=about.resize)
        rows, split = read_rows(path, root, fields, reading)
        loader = BatchLoader(split, np.zeros(len(split)), batch_size)
        for images, chosen in loader.read():
            table = None if split.table is None else split.table[chosen]
            for i, values in zip(chosen.tolist(), self.predict(images, table) if len(chosen) else (), strict=True):
                image = Path(split.images.path(i)) if split.images is not None and len(fields.images) == 1 else None
                yield Prediction(rows.where(i), values, {name: cell[i] for name, cell in rows.cells.items()}, image)


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The given files, and the files in the given folders and their subfolders, sorted, without hidden ones.

    Raises:
        UserError: no such file or folder, or no files in the folders.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = ((file, file.relative_to(path).parts) for file in path.rglob("*"))
            visible = (file for file, parts in inside if not any(part.startswith(".") for part in parts))
            found.extend(sorted(file for file in visible if file.is_file()))
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"there is no file or folder {path}; give images or folders of images")
    if not found:
        raise UserError(f"there is no file in {', '.join(map(str, paths))}; give images or folders of images")
    return found
