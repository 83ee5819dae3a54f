"""Export: the deploy form of a network as a file, kept where it computes what the network does."""

import logging
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.deploy.exported import paddle_files, write_onnx_metadata, write_sidecar
from ppcls_lite.deploy.program import save_inference_model, save_program
from ppcls_lite.deploy.rewrite import NORMS, deploy_form
from ppcls_lite.deploy.runtimes import ONNX, eager, import_extra, open_runtime
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.resources import check_room

logger = logging.getLogger(__name__)

FORMATS = ("paddle", "onnx")
TOLERANCE = 1e-4  # relative to the largest output
DYNAMIC = (1, 3)  # batch sizes that a network of any batch size is compared with


@dataclass(frozen=True)
class Export:
    """What was written, and its largest difference from the network, relative to the largest output."""

    files: tuple[Path, ...]
    difference: float


def check_format(form: str) -> None:
    """Check that this installation can write a format, before any work.

    Raises:
        UserError: it cannot, and what is missing.
    """
    if form == "onnx":
        if paddle.__version__.startswith("2."):
            raise UserError(f"--format onnx needs Paddle 3, and this is {paddle.__version__}; bash scripts/setup.sh")
        for name in ("onnx", "paddle2onnx", "onnxruntime"):
            import_extra(name)


def randomize_batch_norm(network: nn.Layer, image_size: int, channels: int) -> None:
    """Give the batch norms of a network with random weights what training would give them.

    Statistics are those of a batch of random images: untrained ones say mean 0 and variance 1, with which a deep
    network's outputs grow or vanish. Scales and shifts are random, and the shifts positive: with most units above 0,
    rounding errors grow less from layer to layer (by 1.2 a layer otherwise, Yang et al., arXiv:1902.08129).
    """
    norms = [layer for layer in network.sublayers() if isinstance(layer, NORMS)]
    momenta = [norm._momentum for norm in norms]
    rng = np.random.default_rng(0)
    network.train()
    for norm in norms:
        norm._momentum = 0.0  # the statistics become the batch's
        norm.weight.set_value(rng.uniform(0.5, 1.5, norm.weight.shape).astype("float32"))
        norm.bias.set_value(rng.uniform(0, 2, norm.bias.shape).astype("float32"))
    with paddle.no_grad():
        count = max(8, 2048 // image_size)  # small images leave few values of a channel in the last layers
        network(paddle.to_tensor(_images(count, image_size, channels, seed=1)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm._momentum = momentum
    network.eval()


def export(network: nn.Layer, metadata: Metadata, form: str, output: Path, batch_size: int | None = None) -> Export:
    """Write the deploy form of ``network``, on paddle's current device the CPU.

    Args:
        network: without resizing of its input; it is left as it is.
        metadata: its input and outputs.
        form: ``paddle`` or ``onnx``.
        output: the file of ``onnx``, the prefix of ``paddle``; nothing is there.
        batch_size: the only one that it will take; None for any.

    Raises:
        UserError: a batch takes more memory than can be had.
        TrainingError: the file does not compute what the network does, or the converter failed; nothing is kept.
    """
    network.eval()
    metadata = replace(metadata, batch_size=batch_size)
    shape = (metadata.channels, metadata.image_size)
    check_room(8 * (batch_size or 1) * shape[0] * shape[1] ** 2, f"a batch of {batch_size} images of {shape[1]} px")
    deploy = deploy_form(network, paddle.to_tensor(_images(1, shape[1], shape[0], seed=2)))
    spec = paddle.static.InputSpec([batch_size or -1, shape[0], shape[1], shape[1]], "float32", "images")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        prefix = Path(folder) / "network"
        (save_program if form == "onnx" else save_inference_model)(deploy, spec, prefix)
        if form == "onnx":
            written = [_to_onnx(prefix, metadata)]
            opened, backend = written[0], "onnxruntime"
        else:
            write_sidecar(prefix, metadata)
            written = paddle_files(prefix)
            opened, backend = prefix, "paddle"
        difference = _compare(network, open_runtime(opened, backend, 1), metadata, batch_size)
        files = []
        for file in written:
            target = output if form == "onnx" else output.with_name(output.name + file.name[len(prefix.name) :])
            shutil.move(file, target)
            files.append(target)
    return Export(tuple(files), difference)


def _to_onnx(prefix: Path, metadata: Metadata) -> Path:
    from ppcls_lite.deploy import onnx_graph

    try:
        model = onnx_graph.convert(prefix)
    except RuntimeError as error:
        raise TrainingError(str(error)) from None
    write_onnx_metadata(model, metadata)
    file = prefix.with_suffix(ONNX)
    import_extra("onnx").save(model, str(file))
    return file


def _compare(network: nn.Layer, runtime, metadata: Metadata, batch_size: int | None) -> float:
    """Largest difference of outputs on random images, relative to the largest output."""
    run = eager(network)
    worst = 0.0
    for i, size in enumerate((batch_size,) if batch_size else DYNAMIC):
        images = _images(size, metadata.image_size, metadata.channels, seed=3 + i)
        expected, found = run(images), runtime(images)
        scale = np.abs(expected).max()
        difference = np.abs(found - expected).max() / scale if found.shape == expected.shape else np.inf
        if not difference <= TOLERANCE:
            raise TrainingError(
                f"the exported network differs from the one it was made of by {difference:.1e} of the largest output, "
                f"more than {TOLERANCE:.0e}, with batch {size}; nothing was kept"
            )
        worst = max(worst, float(difference))
    return worst


def _images(count: int, size: int, channels: int, seed: int) -> np.ndarray:
    """Noise of all scales, float32 [N, C, H, W]: images of white noise alone look all the same to a deep network."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, channels, size, size), np.float32)
    for cell in 2 ** np.arange(int(np.log2(size)) + 1):
        side = -(-size // cell)
        noise = rng.standard_normal((count, channels, side, side), "float32")
        images += noise.repeat(cell, axis=2).repeat(cell, axis=3)[:, :, :size, :size]
    return images / np.float32(np.sqrt(int(np.log2(size)) + 1))
