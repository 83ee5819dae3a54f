"""ONNX: Paddle's converter, and the graph in the form that runtimes optimise.

Paddle2ONNX writes a convolution's bias as an addition, computes sizes that are known from shapes at run time, and
copies constants. ONNX Runtime's basic optimisations, which stay within ONNX's own operators, mend all but the sizes. It
keeps an upsampling in its blocked layout only where its scales are constant; they are resolved here, whatever the batch
size.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import paddle2onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.utils import Extractor

OPSET = 13
OUTPUT = "logits"


def convert(prefix: Path) -> onnx.ModelProto:
    """The Paddle program PREFIX.json with its parameters as an ONNX model, simplified.

    Raises:
        RuntimeError: the converter failed; with what it printed.
    """
    with tempfile.TemporaryDirectory() as folder, _captured(Path(folder) / "log") as log:
        file = Path(folder) / "model.onnx"
        try:
            # Its own optimisation installs packages from the network.
            paddle2onnx.export(
                f"{prefix}.json",
                f"{prefix}.pdiparams",
                str(file),
                opset_version=OPSET,
                auto_upgrade_opset=False,
                enable_optimize=False,
                optimize_tool=None,
            )
            model = onnx.load(str(file))
        except Exception as error:
            raise RuntimeError(f"paddle2onnx cannot convert the network ({error}): {log()}") from None
    return simplify(model)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with constants folded, upsampling by constant scales, biases in their convolutions, nothing unused."""
    model = _optimize(model)
    graph = model.graph
    shapes = _infer_shapes(model)
    constants = {one.name for one in graph.initializer}
    for i, node in enumerate(graph.node):
        if node.op_type == "Resize":
            graph.initializer.append(_scales(node, shapes))
            node.input[:] = [node.input[0], "", graph.initializer[-1].name]
        elif node.op_type == "Reshape" and len(shapes[node.input[0]]) == 4 and node.input[1] not in constants:
            # To (size of the batch, all the rest): checked, as all else here, by the outputs of the whole.
            graph.node[i].CopyFrom(helper.make_node("Flatten", node.input[:1], node.output, node.name, axis=1))
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    result = _optimize(Extractor(model).extract_model(inputs, outputs))  # without what computed the sizes
    _name_output(result.graph)
    _name_batch(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` after ONNX Runtime's basic optimisations: constants folded, copies out, biases in."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    # Without the operator sets of its own that it lists.
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=model.ir_version, producer_name="ppcls_lite"
    )


def _infer_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes by name; sides that are not known are 0."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _scales(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> onnx.TensorProto:
    """The constant scales of an upsampling to a size.

    To a side of 2h - 1 it is by (2h - 0.5) / h, where rounding cannot change a thing: the new side is floor(2h - 0.5),
    and floor(i h / (2h - 0.5)) == i // 2.
    """
    before, after = shapes[node.input[0]][2:], shapes[node.output[0]][2:]
    scales = [2.0 if new == 2 * old else (new + 0.5) / old for old, new in zip(before, after, strict=True)]
    return numpy_helper.from_array(np.array([1, 1, *scales], np.float32), f"{node.name}.scales")


def _name_output(graph: onnx.GraphProto) -> None:
    (maker,) = (node for node in graph.node if graph.output[0].name in node.output)
    graph.output[0].name = maker.output[0] = OUTPUT


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the first side of every tensor ``batch`` where it is not fixed.

    Runtimes lose track of it in an upsampling, and cannot tell that what is added has equal shapes.
    """
    del model.graph.value_info[:]
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    model.graph.value_info.extend(inferred.value_info)
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_param = "batch"


@contextlib.contextmanager
def _captured(path: Path):
    """Send what the process prints, its C++ parts included, to a file; yields a function that reads it."""
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
