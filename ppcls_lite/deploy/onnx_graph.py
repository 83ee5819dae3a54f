"""ONNX: Paddle's converter, and a graph that runtimes can optimise.

Paddle2ONNX writes the bias of a convolution as an addition, computes sizes at run time that are known from shapes, and
copies constants. ONNX Runtime's basic optimisations, which use only ONNX's own operators, fix all but the sizes. ONNX
Runtime keeps an upsampling in its blocked layout only if its scales are constant; they are computed here, for any batch
size.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import paddle2onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.utils import Extractor

OPSET = 13


def convert(prefix: Path, names: Sequence[str]) -> onnx.ModelProto:
    """Convert the Paddle program PREFIX.json and its parameters to a simplified ONNX model.

    Args:
        names: of the outputs.

    Raises:
        RuntimeError: the converter failed; contains what it printed.
    """
    with tempfile.TemporaryDirectory() as folder, _captured(Path(folder) / "log") as log:
        file = Path(folder) / "model.onnx"
        try:
            paddle2onnx.export(
                f"{prefix}.json",
                f"{prefix}.pdiparams",
                str(file),
                opset_version=OPSET,
                auto_upgrade_opset=False,
                enable_optimize=False,  # it would install packages
                optimize_tool=None,
            )
            model = onnx.load(str(file))
        except Exception as error:
            raise RuntimeError(f"paddle2onnx cannot convert the network ({error}): {log()}") from None
    return simplify(model, names)


def simplify(model: onnx.ModelProto, names: Sequence[str] = ("logits",)) -> onnx.ModelProto:
    """``model`` with folded constants, constant upsampling scales, biases in their convolutions, and nothing unused."""
    model = _optimize(model)
    graph = model.graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]  # unknown sides are 0
        for value in (*graph.input, *_infer_shapes(model), *graph.output)
    }
    constants = {one.name for one in graph.initializer}
    for i, node in enumerate(graph.node):
        if node.op_type == "Resize":
            graph.initializer.append(_scales(node, shapes))
            node.input[:] = [node.input[0], "", graph.initializer[-1].name]
        elif node.op_type == "Reshape" and len(shapes[node.input[0]]) == 4 and node.input[1] not in constants:
            # To (batch size, all the rest); export checks this with the outputs of the whole network.
            graph.node[i].CopyFrom(helper.make_node("Flatten", node.input[:1], node.output, node.name, axis=1))
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    result = _optimize(Extractor(model).extract_model(inputs, outputs))  # without the nodes that computed sizes
    new_names = dict(zip(outputs, names, strict=True))
    for node in result.graph.node:
        node.output[:] = [new_names.get(name, name) for name in node.output]
        node.input[:] = [new_names.get(name, name) for name in node.input]
    for value in result.graph.output:
        value.name = new_names[value.name]
    name_batch(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` after ONNX Runtime's basic optimisations: folded constants and biases, no copies."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    # Without the operator sets that ONNX Runtime adds.
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=model.ir_version, producer_name="ppcls_lite"
    )


def _infer_shapes(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The shapes of all tensors between input and output."""
    return list(shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info)


def _scales(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> onnx.TensorProto:
    """Constant scales of an upsampling to a given size.

    From a side h to 2h - 1 the scale is (2h - 0.5) / h, which is safe from rounding: the new side is floor(2h - 0.5),
    and floor(i h / (2h - 0.5)) == i // 2.
    """
    before, after = shapes[node.input[0]][2:], shapes[node.output[0]][2:]
    scales = [2.0 if new == 2 * old else (new + 0.5) / old for old, new in zip(before, after, strict=True)]
    return numpy_helper.from_array(np.array([1, 1, *scales], np.float32), f"{node.name}.scales")


def name_batch(model: onnx.ModelProto) -> None:
    """Name the first dimension of every tensor ``batch`` if it is not fixed.

    Runtimes lose track of it in an upsampling, and then cannot tell that two summands have equal shapes.
    """
    del model.graph.value_info[:]
    model.graph.value_info.extend(_infer_shapes(model))
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_param = "batch"


@contextlib.contextmanager
def _captured(path: Path):
    """Redirect the standard output of the process, including C++ code, to a file; yields a function that reads it."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(path, "w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield lambda: " ".join(path.read_text().split())[-500:]
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
