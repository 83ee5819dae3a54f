"""8-bit networks: an exported ONNX file, rewritten and quantized by ONNX Runtime's static quantizer.

Activations are unsigned with one scale per tensor, weights signed with one scale per output channel, and both are
written as pairs of QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime and OpenVINO read. Scales of
activations come from their smallest and largest values on calibration images. ONNX Runtime has no fast kernels for
signed activations. NNCF was measured, too (docs/results.md).

Needs onnx; imported where a network is quantized.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx

from ppcls_lite.deploy.octave_rewrite import rewrite, upsample_quantized

CALIBRATION_BATCH = 8
MOVES = ("Concat", "Resize", "MaxPool", "Transpose", "Reshape", "Flatten")  # operators that only move values


def quantize(source: Path, target: Path, images: np.ndarray, runtime: str | None = None) -> None:
    """Write an 8-bit version of an exported network that passed ``precision.check_quantizer``, with its metadata.

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
    result = upsample_quantized(quantizer.model.model)
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
