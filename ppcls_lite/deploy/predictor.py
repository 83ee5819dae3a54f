"""Predictions for image files, by a network in any runtime."""

import logging
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What a network makes of an image: ``values`` as :meth:`Task.decode` gives them."""

    image: Path
    values: dict[str, Any]


@dataclass(frozen=True)
class Predictor:
    """A network in a runtime, with what it needs to be fed and read."""

    metadata: Metadata
    run: Runtime
    task: Task = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "task", self.metadata.restore_task())

    def predict(self, images: np.ndarray) -> list[dict[str, Any]]:
        """Predictions of images of pixels, uint8 [N, C, H, W], as :meth:`Task.decode` gives them."""
        return self.task.decode(self._outputs(self.metadata.normalization(images)))

    def _outputs(self, images: np.ndarray) -> np.ndarray:
        """The network's output; a network of one batch size gets batches of it, the last one filled up with zeros."""
        size = self.metadata.batch_size
        if size is None:
            return self._run(images)
        filled = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)])
        parts = [self._run(filled[i : i + size]) for i in range(0, len(filled), size)]
        return np.concatenate(parts)[: len(images)]

    def _run(self, images: np.ndarray) -> np.ndarray:
        outputs = self.run(images)
        expected = (len(images), self.task.outputs)
        if outputs.shape != expected:
            raise UserError(
                f"the network {self.metadata.name} gives an output {list(outputs.shape)}, and its metadata say "
                f"{list(expected)}; export it again"
            )
        return outputs

    def predict_files(self, files: Iterable[Path], batch_size: int) -> Iterator[Prediction | tuple[Path, str]]:
        """Predictions of image files, resized and cut to the network's input, in batches.

        Yields:
            A prediction, or for a file that is no image the file and the reason; in the order of ``files``, but for
            those that are no images, which come earlier.
        """
        names, images = [], []
        for file in files:
            try:
                images.append(load_image(file, self.metadata.channels, self.metadata.image_size))
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
        found = self.predict(np.stack(images))
        yield from (Prediction(name, values) for name, values in zip(names, found, strict=True))


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files that are named, and those in the folders that are, subfolders included, sorted; hidden ones aside.

    Raises:
        UserError: nothing there.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in path.rglob("*") if not _hidden(file.relative_to(path)))
            found.extend(sorted(file for file in inside if file.is_file()))
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"there is no file or folder {path}; name images, or folders of them")
    if not found:
        raise UserError(f"there is no file in {', '.join(map(str, paths))}; name images, or folders of them")
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
