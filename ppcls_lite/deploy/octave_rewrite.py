"""Rewrites of ONNX networks for 8 bits: the same function in operators that runtimes have fast 8-bit kernels for.

In 8 bits a convolution takes a third of its time in 32 bits, and what joins the branches of an octave network takes as
long as before. What is rewritten, and why (measured in docs/results.md):

1. :func:`merge_sums`: convolutions that are summed become one convolution over the concatenation of their inputs, as
   ``l2l(x_l) + h2l(pool(x_h))``. One large convolution is faster than two, and a copy than an addition, which has to
   compute with two scales. A 1x1 convolution with fewer inputs than outputs exchanges places with the upsampling that
   follows it: then it is summed with the high branch's convolution in the same way, and less is upsampled.
2. :func:`pool_by_convolution`: 2x2 average pooling becomes a depthwise convolution with weights of 1/4. ONNX Runtime's
   8-bit average pooling takes ten times as long, and OpenVINO's computes in 32 bits.
3. :func:`scale_by_convolution`: a batch norm that could not be folded becomes a depthwise 1x1 convolution, because
   runtimes compute batch norms in 32 bits.
4. :func:`separate_heads`: outputs of several heads are not concatenated and split again, so that each has its scale.

For ONNX Runtime only, where 8-bit convolutions run on channels-last tensors:

5. :func:`upsample_channels_last`: upsampling becomes an addition that broadcasts, or a concatenation of the tensor with
   itself. ONNX Runtime's 8-bit Resize computes each value by itself; these copy or add whole pixels.
6. :func:`stem_by_blocks`: the first convolution reads blocks of 2x2 pixels as 12 channels. With 3 channels ONNX Runtime
   has no fast kernel.

And once the network is quantized:

7. :func:`upsample_quantized`: upsampling reads and writes 8-bit integers. Between DequantizeLinear and QuantizeLinear,
   OpenVINO subtracts and adds the zero point at every value, which takes three times as long.
"""

from collections import defaultdict

import numpy as np
import onnx

from ppcls_lite.deploy.graph import Graph, attributes_of


def rewrite(model: onnx.ModelProto, runtime: str | None = None) -> onnx.ModelProto:
    """``model`` with all rewrites that serve every runtime, and those for ``runtime`` if it is ``onnxruntime``.

    Args:
        model: a result of ``onnx_graph.simplify``; it is changed.
    """
    steps = [merge_sums, pool_by_convolution, scale_by_convolution, separate_heads]
    if runtime == "onnxruntime":
        steps += [upsample_channels_last, stem_by_blocks]
    for step in steps:
        model = step(model)
    return model


def merge_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make one convolution of convolutions that are summed: ``conv(x) + conv'(y) == conv''(concat(x, y))``."""
    graph = Graph(model)
    for root in graph.nodes("Add"):
        if [node.op_type for node in graph.readers(root.output[0])] == ["Add"]:
            continue  # part of a larger sum
        terms = _terms(graph, root.output[0], top=True)
        shape = graph.shape(root.output[0])
        if len(shape) != 4 or any(graph.shape(term) != shape for term in terms):
            continue
        groups, rest = defaultdict(list), []
        for term in terms:
            conv, source = _as_convolution(graph, term)
            if conv is None:
                rest.append(term)
            else:
                groups[str(sorted(attributes_of(conv).items()))].append((conv, source))
        merged = [_merge(graph, group) for group in groups.values() if len(group) > 1]
        rest += [conv.output[0] for group in groups.values() if len(group) == 1 for conv, _ in group]
        if merged:
            graph.replace(root.output[0], _sum(graph, [*merged, *rest]))
    return graph.finish()


def _terms(graph: Graph, tensor: str, top: bool = False) -> list[str]:
    node = graph.producer(tensor)
    if node is None or node.op_type != "Add" or not (top or graph.is_read_once(tensor)):
        return [tensor]
    return [term for source in node.input for term in _terms(graph, source)]


def _as_convolution(graph: Graph, term: str) -> tuple[onnx.NodeProto | None, str]:
    """The ungrouped convolution that computes a term, and its input; for an upsampled one, the input upsampled."""
    node, upsampling = graph.producer(term), None
    if node is not None and node.op_type == "Resize" and graph.is_read_once(term):
        upsampling, node = node, graph.producer(node.input[0])
    if node is None or node.op_type != "Conv" or attributes_of(node)["group"] != 1:
        return None, ""
    if not graph.is_read_once(node.output[0]):
        return None, ""
    if upsampling is None:
        return node, node.input[0]
    outputs, inputs, *kernel = graph.constants[node.input[1]].shape
    if kernel != [1, 1] or inputs >= outputs:
        return None, ""
    return node, graph.add("Resize", [node.input[0], *upsampling.input[1:]], **attributes_of(upsampling))


def _merge(graph: Graph, group: list[tuple[onnx.NodeProto, str]]) -> str:
    """The output of one convolution for the sum of several with equal attributes."""
    convs = [conv for conv, _ in group]
    weight = np.concatenate([graph.constants[conv.input[1]] for conv in convs], axis=1)
    biases = [graph.constants[conv.input[2]] for conv in convs if len(conv.input) > 2]
    parameters = [weight, sum(biases)] if biases else [weight]
    joined = graph.add("Concat", [source for _, source in group], axis=1)
    return graph.add("Conv", [joined, *map(graph.constant, parameters)], **attributes_of(convs[0]))


def _sum(graph: Graph, terms: list[str]) -> str:
    """The sum of tensors; the first one is added last, which lets runtimes add to its convolution's output in place."""
    *others, total = reversed(terms)
    if others:
        rest, *more = others
        for term in more:
            rest = graph.add("Add", [rest, term])
        total = graph.add("Add", [total, rest])
    return total


def pool_by_convolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make a depthwise convolution of every 2x2 average pooling of even sides."""
    graph = Graph(model)
    for node in graph.nodes("AveragePool"):
        attributes, (_, channels, height, width) = attributes_of(node), graph.shape(node.input[0])
        halves = attributes["kernel_shape"] == attributes["strides"] == [2, 2] and not any(attributes.get("pads", []))
        if halves and height % 2 == 0 and width % 2 == 0:
            weight = graph.constant(np.full((channels, 1, 2, 2), 0.25, np.float32))
            options = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4, "dilations": [1, 1]}
            graph.replace(node.output[0], graph.add("Conv", [node.input[0], weight], group=channels, **options))
    return graph.finish()


def scale_by_convolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make a depthwise 1x1 convolution of every batch norm."""
    graph = Graph(model)
    for node in graph.nodes("BatchNormalization"):
        gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in node.input[1:])
        if len(graph.shape(node.input[0])) == 4:
            scale = gamma / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))
            parameters = scale.reshape(-1, 1, 1, 1), beta - mean * scale
            names = [graph.constant(values.astype(np.float32)) for values in parameters]
            options = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1]}
            output = graph.add("Conv", [node.input[0], *names], group=len(scale), **options)
            graph.replace(node.output[0], output)
    return graph.finish()


def separate_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take tensors that are concatenated and split again into the same parts from before that."""
    graph = Graph(model)
    for node in graph.nodes("Split"):
        joined = graph.producer(node.input[0])
        if joined is not None and joined.op_type == "Concat":
            parts, sources = list(node.output), list(joined.input)
            if list(map(graph.shape, parts)) == list(map(graph.shape, sources)) and graph.is_read_once(
                joined.output[0]
            ):
                for part, source in zip(parts, sources, strict=True):
                    graph.replace(part, source)
    return graph.finish()


def upsample_channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute upsampling to twice the sides, and additions of it, on pixels [N, H, W, C] as a whole."""
    graph = Graph(model)
    for node in graph.nodes("Resize"):
        (_, channels, h, w), (_, _, height, width) = graph.shape(node.input[0]), graph.shape(node.output[0])
        if (height, width) != (2 * h, 2 * w):
            continue
        pixels = graph.add("Transpose", [node.input[0]], perm=[0, 2, 3, 1])
        readers = graph.readers(node.output[0])
        if [reader.op_type for reader in readers] == ["Add"]:
            (last,) = readers
            (other,) = (source for source in last.input if source != node.output[0])
            large = graph.reshape(graph.add("Transpose", [other], perm=[0, 2, 3, 1]), [-1, h, 2, w, 2, channels])
            small = graph.reshape(pixels, [-1, h, 1, w, 1, channels])
            result = graph.add("Add", [large, small])
            after = graph.readers(last.output[0])
            if [reader.op_type for reader in after] == ["Relu"]:  # belongs behind the addition in 8 bits
                (last,) = after
                result = graph.add("Relu", [result])
            result = graph.reshape(result, [-1, height, width, channels])
        else:
            last = node
            columns = graph.reshape(graph.add("Concat", [pixels, pixels], axis=3), [-1, h, 2 * w * channels])
            result = graph.add("Concat", [columns, columns], axis=2)
            result = graph.reshape(result, [-1, height, width, channels])
        graph.replace(last.output[0], graph.add("Transpose", [result], perm=[0, 3, 1, 2]))
    return graph.finish()


def stem_by_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a first convolution with stride 2 read blocks of 2x2 pixels with stride 1.

    Tap t of a row of the kernel, counted from pixel 2i, is row t % 2 of block i + t // 2.
    """
    graph = Graph(model)
    (source,) = (value.name for value in model.graph.input)
    node, *others = graph.readers(source)
    _, channels, height, width = graph.shape(source)
    if others or node.op_type != "Conv" or height % 2 or width % 2:
        return model
    attributes, weight = attributes_of(node), graph.constants[node.input[1]]
    size, pads = weight.shape[2], attributes.get("pads", [])
    square = weight.shape[3] == size and len(pads) == 4 and pads[0] == pads[1] and pads[2] == pads[3]
    if not square or attributes["strides"] != [2, 2] or attributes["dilations"] != [1, 1]:
        return model
    if pads[0] + pads[2] not in (size - 2, size - 1):  # the output has half the sides
        return model
    first, last = -pads[0] // 2, (size - 1 - pads[0]) // 2  # the blocks around block i
    side = last - first + 1
    blocks = np.zeros((len(weight), 2, 2, channels, side, side), np.float32)
    for row in range(size):
        for column in range(size):
            (y, in_y), (x, in_x) = divmod(row - pads[0], 2), divmod(column - pads[0], 2)
            blocks[:, in_y, in_x, :, y - first, x - first] = weight[:, :, row, column]
    pixels = graph.add("Transpose", [source], perm=[0, 2, 3, 1])
    rows = graph.reshape(pixels, [-1, height // 2, 2, width // 2, 2 * channels])
    rows = graph.add("Transpose", [rows], perm=[0, 1, 3, 2, 4])
    joined = graph.reshape(rows, [-1, height // 2, width // 2, 4 * channels])
    weight = graph.constant(blocks.reshape(-1, 4 * channels, side, side))
    inputs = [graph.add("Transpose", [joined], perm=[0, 3, 1, 2]), weight]
    options = {"kernel_shape": [side, side], "strides": [1, 1], "pads": [-first, -first, last, last]}
    output = graph.add("Conv", [*inputs, *node.input[2:]], **options, dilations=[1, 1], group=1)
    graph.replace(node.output[0], output)
    return graph.finish()


def upsample_quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let nearest upsampling read and write 8-bit integers where the conversions around it have the same scale.

    Args:
        model: a quantized network, with pairs of QuantizeLinear and DequantizeLinear.
    """
    graph = Graph(model)
    for resize in graph.nodes("Resize"):
        around = [graph.producer(resize.input[0]), *graph.readers(resize.output[0])]
        if [node and node.op_type for node in around] != ["DequantizeLinear", "QuantizeLinear"]:
            continue
        before, after = around
        if before.input[1:] == after.input[1:] and attributes_of(resize)["mode"] == b"nearest":
            moved = graph.add("Resize", [before.input[0], *resize.input[1:]], **attributes_of(resize))
            graph.replace(after.output[0], moved)
    return graph.finish()
