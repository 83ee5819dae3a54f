"""8-bit networks: an exported ONNX file, rewritten and quantized by ONNX Runtime's static quantizer.

Activations are unsigned with one scale per tensor, weights signed with one scale per output channel, and both are
written as pairs of QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime and OpenVINO read. Scales of
activations come from their smallest and largest values on calibration images. ONNX Runtime has no fast kernels for
signed activations. NNCF was measured, too (docs/results.md).
"""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import paddle
from paddle import Tensor, nn

from ppcls_lite.deploy.octave_rewrite import rewrite
from ppcls_lite.deploy.runtimes import Runtime, import_extra
from ppcls_lite.tasks.task import Metric
from ppcls_lite.utils.errors import TrainingError, UserError

CALIBRATION_BATCH = 8
MOVES = ("Concat", "Resize", "MaxPool", "Transpose", "Reshape", "Flatten")  # operators that only move values


def check_quantizer(network: str, table_width: int) -> None:
    """Check that a network can be quantized by this installation.

    Args:
        network: its name.
        table_width: values of a row of the table that it takes; 0 for images alone.

    Raises:
        UserError: a package is missing, or the network takes a table.
    """
    if table_width:
        raise UserError(f"int8 is for networks that take images alone, but {network} takes a table; leave out int8")
    for name in ("ml_dtypes", "onnxruntime.quantization"):
        import_extra(name)


def quantize(source: Path, target: Path, images: np.ndarray, runtime: str | None = None) -> None:
    """Write an 8-bit version of an exported network that passed :func:`check_quantizer`, with its metadata.

    Args:
        source: an .onnx file of ``export.export``.
        target: the file to write.
        images: calibration images as the network takes them, float32 [N, C, H, W].
        runtime: rewrite the network for ``onnxruntime`` only; None for a file that is fast in every runtime.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    model = onnx.load(str(source))
    metadata = list(model.metadata_props)
    model = rewrite(model, runtime)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        ranges = _calibrate(model, images, Path(folder))
    _share_ranges(model, ranges)
    quantizer = QDQQuantizer(model, True, False, QuantType.QInt8, QuantType.QUInt8, ranges, [], [], _kinds(model), {})
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = quantizer.model.model
    del result.metadata_props[:]
    result.metadata_props.extend(metadata)
    onnx.checker.check_model(result)
    onnx.save(result, str(target))


def _kinds(model: onnx.ModelProto) -> list[str]:
    """The kinds of operators to quantize: all that the quantizer knows."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({node.op_type for node in model.graph.node} & {*QDQRegistry, *QLinearOpsRegistry})


def _calibrate(model: onnx.ModelProto, images: np.ndarray, folder: Path):
    """The smallest and the largest value of every tensor on the images."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    (given,) = model.graph.input
    batch = given.type.tensor_type.shape.dim[0].dim_value or min(CALIBRATION_BATCH, len(images))

    class Reader(CalibrationDataReader):
        def __init__(self):
            # For a fixed batch size, the first images fill the last batch.
            chosen = np.arange(-(-len(images) // batch) * batch) % len(images)
            self.batches = iter(images[chosen].reshape(-1, batch, *images.shape[1:]))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {given.name: batch}

    file = folder / "rewritten.onnx"
    onnx.save(model, str(file))
    method = CalibrationMethod.MinMax
    calibrator = create_calibrator(file, _kinds(model), str(folder / "calibrated.onnx"), calibrate_method=method)
    calibrator.collect_data(Reader())
    return calibrator.compute_data()


def _share_ranges(model: onnx.ModelProto, ranges) -> None:
    """Give the inputs and outputs of operators that only move values one range: then they are copied in 8 bits."""
    from onnxruntime.quantization.calibrate import TensorData

    group: dict[str, str] = {}

    def find(name: str) -> str:
        while name in group:
            name = group[name]
        return name

    for node in model.graph.node:
        if node.op_type in MOVES:
            for source in node.input if node.op_type == "Concat" else node.input[:1]:
                if find(source) != find(node.output[0]):
                    group[find(source)] = find(node.output[0])
    members = defaultdict(list)
    for name in ranges.data:
        members[find(name)].append(name)
    for names in members.values():
        lowest = np.float32(min(np.min(ranges[name].range_value[0]) for name in names))
        highest = np.float32(max(np.max(ranges[name].range_value[1]) for name in names))
        for name in names:
            ranges.data[name] = TensorData(lowest=np.array(lowest), highest=np.array(highest))


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
