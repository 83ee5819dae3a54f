"""8-bit export of a run's network: calibration on its training images, and the scores of both files."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.data import BatchLoader
from ppcls_lite.deploy.export import Export, export, noise_images
from ppcls_lite.deploy.precision import check_quantizer
from ppcls_lite.deploy.runtimes import Runtime, open_runtime
from ppcls_lite.engine.build import Loaders, build_loaders
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.network import prepare_input, resize
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Metric
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.resources import count_cores


@dataclass(frozen=True)
class Quantization:
    """How to quantize.

    Args:
        images: number of calibration images.
        max_drop: the largest loss of the headline metric, see :func:`check_drop`.
        runtime: the only runtime that the file is for; None for all.
    """

    images: int = 128
    max_drop: float = 1.0
    runtime: str | None = None


def export_quantized(
    setup: Setup, network: nn.Layer, metadata: Metadata, output: Path, batch_size: int | None, how: Quantization
) -> tuple[Export, str]:
    """Write ``network`` to an 8-bit ONNX file. Without trained weights, nothing is read from the data set.

    Returns:
        The export, whose difference is that of the 32-bit file, and the scores in words.

    Raises:
        TrainingError: the 8-bit file scores worse than allowed; nothing is kept.
        UserError: as ``deploy.precision.check_quantizer`` and ``deploy.export.export``.
    """
    check_quantizer(metadata.name, network.table_width)
    from ppcls_lite.deploy.quantize import quantize

    trained = metadata.weights != "random"
    loaders = build_loaders(setup, setup.source.load(setup.reading)) if trained else None
    images = _calibration_images(setup, loaders, metadata, how.images)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        files = [Path(folder) / f"{bits}.onnx" for bits in (32, 8)]
        done = export(network, metadata, "onnx", files[0], batch_size)
        quantize(*files, images, how.runtime)
        if loaders is None:
            scores = "not scored, because the weights are random; calibrated on random images"
        else:
            part, loader = loaders.scored
            found = [_score(setup, metadata, file, batch_size, loader) for file in files]
            scores = f"{part}: {check_drop(setup.task.headline, *found, how.max_drop)}"
        shutil.move(files[1], output)
    return Export((output,), done.difference), scores


def _calibration_images(setup: Setup, loaders: Loaders | None, metadata: Metadata, count: int) -> np.ndarray:
    """Training images without augmentation, as the exported network takes them: float32 [N, C, H, W]."""
    if loaders is None:
        return noise_images(count, metadata.image_size, metadata.channels, seed=4)
    split = loaders.train.split
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:count])
    loader = BatchLoader(split.take(chosen), np.zeros(len(chosen)), setup.config.DataLoader.eval_batch_size)
    prepared = (metadata.normalization(paddle.to_tensor(images)) for images, *_ in loader)
    return np.concatenate([resize(images, metadata.image_size).numpy() for images in prepared])


def _score(setup: Setup, metadata: Metadata, file: Path, batch_size: int | None, loader: BatchLoader) -> float:
    """The headline metric of an exported network."""
    network = Deployed(open_runtime(file, "onnxruntime", count_cores()), batch_size)
    prepare_input(network, metadata.normalization, metadata.image_size)
    return evaluate(network, setup.task, loader).values[setup.task.headline.name]


class Deployed(nn.Layer):
    """An exported network as a layer, to be scored as the original is.

    Args:
        run: the network in its runtime.
        batch_size: the only batch size that it takes; None for any.
    """

    takes_images = True

    def __init__(self, run: Runtime, batch_size: int | None):
        super().__init__()
        self.run, self.batch_size = run, batch_size

    def forward(self, x: Tensor) -> Tensor:
        images = x.numpy()
        size = self.batch_size or len(images)
        padded = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)])
        parts = [self.run(padded[i : i + size]) for i in range(0, len(padded), size)]
        return paddle.to_tensor(np.concatenate(parts)[: len(images)])


def check_drop(metric: Metric, before: float, after: float, most: float) -> str:
    """Describe the change of a metric by quantization.

    Args:
        metric: the headline of the task.
        before, after: its values in 32 and 8 bits.
        most: the largest loss allowed: percentage points of a fraction, else percent of ``before``.

    Raises:
        TrainingError: the loss is larger, or a value is NaN.
    """
    unit = "points" if metric.unit == "%" else "%"
    change = 100 * (after - before) / (1 if metric.unit == "%" else abs(before) or 1)
    drop = -change if metric.higher_is_better else change
    text = f"{metric.show(before)} in 32 bits, {metric.show(after)} in 8 bits ({change:+.2f} {unit})"
    if not drop <= most:  # NaN, too
        raise TrainingError(
            f"{text}: the loss is more than --max-drop {most:g} {unit}; nothing was written; "
            f"calibrate on more images, or allow a larger loss"
        )
    return text
