"""Predictions for image files, by a network in any runtime."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.data.image_file import load_image
from ppcls_lite.deploy.runtimes import Runtime
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.task import Task
from ppcls_lite.utils.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """The prediction for an image; ``values`` is a result of :meth:`Task.decode`."""

    image: Path
    values: dict[str, Any]


@dataclass(frozen=True)
class Predictor:
    """A network in a runtime, with the metadata that describes its input and output."""

    metadata: Metadata
    run: Runtime
    task: Task = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "task", self.metadata.restore_task())

    def predict(self, images: np.ndarray) -> list[dict[str, Any]]:
        """Predictions for pixels, uint8 [N, C, H, W]; see :meth:`Task.decode`.

        Raises:
            UserError: the network's output does not have the shape that the metadata say.
        """
        return self.task.decode(self._outputs(self.metadata.normalization(images)))

    def _outputs(self, images: np.ndarray) -> np.ndarray:
        """The network's outputs; for a fixed batch size, images are split into batches and padded with zeros."""
        size = self.metadata.batch_size
        if size is None:
            return self._run(images)
        padded = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)])
        parts = [self._run(padded[i : i + size]) for i in range(0, len(padded), size)]
        return np.concatenate(parts)[: len(images)]

    def _run(self, images: np.ndarray) -> np.ndarray:
        outputs = self.run(images)
        expected = (len(images), self.task.outputs)
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
        yield from map(Prediction, names, self.predict(np.stack(images)))


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
