"""Export the deploy form of a network to files, and check that they compute what the network computes."""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec
from paddle.tensor.math import _add_with_axis

from ppcls_lite.arch.tracing import trace_unrewritten
from ppcls_lite.deploy.exported import paddle_files, write_onnx_metadata, write_sidecar
from ppcls_lite.deploy.rewrite import NORMS, FoldedConvBN, deploy_form, replace_layers
from ppcls_lite.deploy.runtimes import ONNX, eager, import_extra, open_runtime
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.resources import check_room

TOLERANCE = 1e-4  # relative to the largest output
DYNAMIC = (1, 3)  # batch sizes to check if any batch size is allowed


@dataclass(frozen=True)
class Export:
    """The written files, and their largest difference from the network, relative to the largest output."""

    files: tuple[Path, ...]
    difference: float


def check_format(form: str) -> None:
    """Check that this installation can write a format.

    Raises:
        UserError: it cannot; says what is missing.
    """
    if form == "onnx":
        if paddle.__version__.startswith("2."):
            raise UserError(f"--format onnx needs Paddle 3, found {paddle.__version__}; run bash scripts/setup.sh")
        for name in ("onnx", "paddle2onnx", "onnxruntime"):
            import_extra(name)


def randomize_batch_norm(network: nn.Layer, image_size: int | None, channels: int) -> None:
    """Give batch norms of a network with random weights what training would give them.

    The statistics become those of a batch of random images: with the initial ones, mean 0 and variance 1, the outputs
    of a deep network explode or vanish. Scales and shifts are random, and the shifts positive: if most units are above
    0, rounding errors grow less from layer to layer (otherwise by 1.2 per layer, Yang et al., arXiv:1902.08129).
    """
    norms = [layer for layer in network.sublayers() if isinstance(layer, NORMS)]
    momenta = [norm._momentum for norm in norms]
    rng = np.random.default_rng(0)
    network.train()
    for norm in norms:
        norm._momentum = 0.0  # replaces the statistics by the batch's
        norm.weight.set_value(rng.uniform(0.5, 1.5, norm.weight.shape).astype("float32"))
        norm.bias.set_value(rng.uniform(0, 2, norm.bias.shape).astype("float32"))
    with paddle.no_grad():
        count = max(8, 2048 // (image_size or 2048))  # small images give few values per channel in the last layers
        network(*map(paddle.to_tensor, _inputs(network, count, image_size, channels, seed=1)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm._momentum = momentum
    network.eval()


def export(network: nn.Layer, metadata: Metadata, form: str, output: Path, batch_size: int | None = None) -> Export:
    """Write the deploy form of ``network``. Paddle's current device must be the CPU.

    Args:
        network: without resizing of its input; it is not changed.
        metadata: describes its input and outputs.
        form: ``paddle`` or ``onnx``.
        output: the file of ``onnx``, the prefix of ``paddle``; must not exist.
        batch_size: the only one that the exported network takes; None for any.

    Raises:
        UserError: a batch does not fit into memory, or Paddle cannot export the network's control flow.
        TrainingError: the converter failed, or the files do not compute what the network computes; nothing is kept.
    """
    network.eval()
    metadata = replace(metadata, batch_size=batch_size)
    size, channels = metadata.image_size, metadata.channels
    if size:
        check_room(8 * (batch_size or 1) * channels * size**2, f"a batch of {batch_size} images of {size} px")
    inputs = map(paddle.to_tensor, _inputs(network, 1, size, channels, seed=2))
    parts = metadata.restore_task().parts
    deploy = NamedOutputs(deploy_form(network, *inputs), parts)
    shapes = metadata.input_shapes
    specs = [InputSpec([batch_size or -1, *shape], "float32", name) for name, shape in shapes.items()]
    if not trace_unrewritten(deploy) and not paddle.__version__.startswith("2."):
        _check_control_flow(NamedOutputs(deploy.network, parts), specs, type(network).__name__)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        prefix = Path(folder) / "network"
        if form == "onnx":
            file = _save_onnx(deploy, specs, prefix, metadata)
            written = {file: output}
            runtime = open_runtime(file, "onnxruntime", 1)
        else:
            _save_inference_model(deploy, specs, prefix)
            write_sidecar(prefix, metadata)
            written = dict(zip(paddle_files(prefix), paddle_files(output), strict=True))
            runtime = open_runtime(prefix, "paddle", 1)
        difference = _compare(network, runtime, metadata)
        for file, target in written.items():
            shutil.move(file, target)
    return Export(tuple(written.values()), difference)


class NamedOutputs(nn.Layer):
    """A network whose output is split into that of each head."""

    def __init__(self, network: nn.Layer, parts: Mapping[str, int]):
        super().__init__()
        self.network, self.sizes, self.names = network, list(parts.values()), list(parts)

    def forward(self, x: Tensor, table: Tensor | None = None) -> Tensor | list[Tensor]:
        outputs = self.network(x) if table is None else self.network(x, table)
        return paddle.split(outputs, self.sizes, axis=1) if len(self.sizes) > 1 else outputs


def _check_control_flow(network: nn.Layer, specs: list[InputSpec], name: str) -> None:
    """Refuse an if or while on values: Paddle 3.3 cannot write it in Paddle 2's format, and paddle2onnx aborts."""
    traced = paddle.jit.to_static(network, input_spec=specs, full_graph=True)
    operators = {operator.name() for operator in traced.forward.concrete_program.main_program.global_block().ops}
    if operators & {"pd_op.if", "pd_op.while"}:
        raise UserError(
            f"{name} has an if or while that depends on the values of tensors, which cannot be exported under "
            "Paddle 3; use paddle.where instead, or export it to Paddle's format under Paddle 2.6"
        )


def _save_program(network: nn.Layer, specs: list[InputSpec], prefix: Path) -> None:
    """Trace ``network`` into Paddle's program format: PREFIX.json (Paddle 2: PREFIX.pdmodel) and PREFIX.pdiparams."""
    traced = paddle.jit.to_static(network, input_spec=specs, full_graph=True)
    paddle.jit.save(traced, str(prefix))


def _save_onnx(network: NamedOutputs, specs: list[InputSpec], prefix: Path, metadata: Metadata) -> Path:
    from ppcls_lite.deploy import onnx_graph

    _save_program(network, specs, prefix)
    try:
        model = onnx_graph.convert(prefix, network.names)
    except RuntimeError as error:
        raise TrainingError(str(error)) from None
    write_onnx_metadata(model, metadata)
    file = prefix.with_suffix(ONNX)
    import_extra("onnx").save(model, str(file))
    return file


def _save_inference_model(network: nn.Layer, specs: list[InputSpec], prefix: Path) -> None:
    """Trace ``network`` into PREFIX.pdmodel and PREFIX.pdiparams for Paddle Inference; changes ``network``.

    Also under Paddle 3 the program has Paddle 2's format: Paddle 3.3 cannot run upsampling with oneDNN from its own
    format ("ConvertPirAttribute2RuntimeAttribute not support"). For odd sides oneDNN rounds nearest upsampling
    differently from Paddle, so it upsamples to even sides and crops.
    """
    for layer in network.sublayers():
        if isinstance(layer, FoldedConvBN):
            layer.crops = True
    replace_layers(network, lambda layer: isinstance(layer, nn.Conv2D) and layer.bias is not None, ChannelBias)
    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", contextlib.nullcontext)  # not in Paddle 2.6
    with guard():
        _save_program(network, specs, prefix)


class ChannelBias(nn.Layer):
    """A convolution whose bias is added along an axis.

    Tracing ``nn.Conv2D`` reshapes its bias to [1, C, 1, 1], and Paddle Inference then adds it in a separate pass.
    """

    def __init__(self, conv: nn.Conv2D):
        super().__init__()
        self.bias, conv.bias = conv.bias, None
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return _add_with_axis(self.conv(x), self.bias, axis=1)


def _compare(network: nn.Layer, runtime, metadata: Metadata) -> float:
    """Largest difference of the outputs on random inputs, relative to the largest output."""
    run = eager(network)
    worst = 0.0
    for i, size in enumerate((metadata.batch_size,) if metadata.batch_size else DYNAMIC):
        inputs = _inputs(network, size, metadata.image_size, metadata.channels, seed=3 + i)
        expected, found = run(*inputs), runtime(*inputs)
        scale = np.abs(expected).max() or 1.0  # a small layer's units may all be 0
        difference = np.abs(found - expected).max() / scale if found.shape == expected.shape else np.inf
        if not difference <= TOLERANCE:  # NaN, too
            raise TrainingError(
                f"the exported network differs from the original by {difference:.1e} of the largest output "
                f"(at most {TOLERANCE:.0e} expected) with batch size {size}; nothing was written"
            )
        worst = max(worst, float(difference))
    return worst


def _inputs(network: nn.Layer, count: int, size: int | None, channels: int, seed: int) -> list[np.ndarray]:
    """Random inputs of a network: images, rows of a table, or both."""
    images = [noise_images(count, size, channels, seed)] if network.takes_images else []
    shape = (count, network.table_width)
    return images + ([np.random.default_rng(seed).random(shape, "float32")] if network.table_width else [])


def noise_images(count: int, size: int, channels: int, seed: int) -> np.ndarray:
    """Noise at all scales, float32 [N, C, H, W]; a deep network can hardly tell images of white noise apart."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, channels, size, size), np.float32)
    for cell in 2 ** np.arange(int(np.log2(size)) + 1):
        side = -(-size // cell)
        noise = rng.standard_normal((count, channels, side, side), "float32")
        images += noise.repeat(cell, axis=2).repeat(cell, axis=3)[:, :, :size, :size]
    return images / np.float32(np.sqrt(int(np.log2(size)) + 1))
