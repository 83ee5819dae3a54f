"""ONNX: Paddle's converter, and the graph in the form that runtimes optimise.

Paddle2ONNX writes a convolution's bias as an addition, computes sizes that are known from shapes at run time, and
copies constants. ONNX Runtime keeps an upsampling in its blocked layout only where its scales are constant; everything
is resolved here, whatever the batch size.
"""

import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import paddle2onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

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
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = _without_identities(_fold_constants(model.graph.node, constants), model.graph.output[0].name)
    model.graph.output[0].name = OUTPUT
    nodes = _fuse_biases(nodes, constants)
    shapes = _infer_shapes(_with_nodes(model, nodes, constants))
    for i, node in enumerate(nodes):
        if node.op_type == "Resize":
            nodes[i] = _with_scales(node, shapes, constants)
        elif node.op_type == "Reshape" and len(shapes[node.input[0]]) == 4 and node.input[1] not in constants:
            # To (size of the batch, all the rest): checked, as all else here, by the outputs of the whole.
            nodes[i] = helper.make_node("Flatten", node.input[:1], node.output, node.name, axis=1)
    result = _with_nodes(model, _needed(nodes), constants)
    _name_batch(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def _fold_constants(nodes: Iterable[onnx.NodeProto], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """The nodes that depend on the input; what the others compute joins ``constants``."""
    kept = []
    for node in nodes:
        if all(name in constants for name in node.input):  # a constant itself has no inputs
            constants[node.output[0]] = _evaluate(node, constants)
        else:
            kept.append(node)
    return kept


def _without_identities(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes without copies; what was called ``output`` is called ``OUTPUT``."""
    sources = {}
    for node in nodes:
        if node.op_type == "Identity":
            sources[node.output[0]] = sources.get(node.input[0], node.input[0])
    new = {sources.get(output, output): OUTPUT}
    kept = []
    for node in nodes:
        if node.op_type != "Identity":
            inputs = [sources.get(name, name) for name in node.input]
            node.input[:] = [new.get(name, name) for name in inputs]
            node.output[:] = [new.get(name, name) for name in node.output]
            kept.append(node)
    return kept


def _fuse_biases(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Convolutions, and matrix products as Gemm, with the constant that is added to their output as their bias."""
    readers = Counter(name for node in nodes for name in node.input)
    makers = {node.output[0]: node for node in nodes}
    kept, fused = [], set()
    for node in nodes:
        source = makers.get(node.input[0]) if node.op_type == "Add" and node.input[1] in constants else None
        if source is not None and readers[source.output[0]] == 1 and source.op_type in ("Conv", "MatMul"):
            bias = constants[node.input[1]].reshape(-1)
            constants[f"{node.name}.bias"] = bias
            fused.add(source.output[0])
            kind = "Gemm" if source.op_type == "MatMul" else "Conv"
            inputs = [*source.input, f"{node.name}.bias"]
            attributes = source.attribute
            node = helper.make_node(kind, inputs, node.output, source.name)
            node.attribute.extend(attributes)
        kept.append(node)
    return [node for node in kept if node.output[0] not in fused]


def _needed(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that the output depends on."""
    wanted, kept = {OUTPUT}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the first side of every tensor ``batch`` where it is not fixed.

    Runtimes lose track of it in an upsampling, and cannot tell that what is added has equal shapes.
    """
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    model.graph.value_info.extend(inferred.value_info)
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_param = "batch"


def _infer_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes by name; sides that are not known are 0."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _with_nodes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """``model`` with other nodes, and those of the constants that they use."""
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    graph = helper.make_graph(nodes, "network", model.graph.input, model.graph.output, initializers)
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="ppcls_lite"
    )


def _evaluate(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> np.ndarray:
    inputs = {name: constants[name] for name in node.input}
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "constant", values, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    return np.asarray(ReferenceEvaluator(model).run(None, inputs)[0])


def _with_scales(
    node: onnx.NodeProto, shapes: dict[str, list[int]], constants: dict[str, np.ndarray]
) -> onnx.NodeProto:
    """An upsampling to a size as one by constant scales.

    To a side of 2h - 1 it is by (2h - 0.5) / h, where rounding cannot change a thing: the new side is floor(2h - 0.5),
    and floor(i h / (2h - 0.5)) == i // 2.
    """
    before, after = shapes[node.input[0]][2:], shapes[node.output[0]][2:]
    scales = [2.0 if new == 2 * old else (new + 0.5) / old for old, new in zip(before, after, strict=True)]
    scales = np.array([1, 1, *scales], np.float32)
    name = f"{node.name}.scales"
    constants[name] = scales
    result = helper.make_node("Resize", [node.input[0], "", name], node.output, node.name)
    result.attribute.extend(node.attribute)
    return result


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
