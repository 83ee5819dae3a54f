"""MobileNetV1 from TFLite files: its convolutions in order, with dequantized weights."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.resources import check_room

SUFFIX = ".tflite"
KINDS = ["CONV_2D", *["DEPTHWISE_CONV_2D", "CONV_2D"] * 13, "CONV_2D"]
BACKGROUND = 1001  # TensorFlow's ImageNet classes with the background as the first
_EPSILON = 1e-5  # of batch norm


def read_mobilenet(paths: Sequence[Path]) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read MobileNetV1 from one file, or from several that follow one another, such as backbone and head.

    Batch norm is part of the convolutions in these files: its statistics become those of an identity, and its bias
    that of the convolution. The background class of 1001 is left out.

    Returns:
        Weights by our names, and the options of ``mobilenet_v1`` that they fit.

    Raises:
        UserError: a file cannot be read or holds another network, or the package ``tflite`` is missing.
    """
    layers = [layer for path in paths for layer in _read_convolutions(path)]
    kinds, weights = [kind for kind, *_ in layers], {}
    if kinds != KINDS:
        raise UserError(
            f"{', '.join(map(str, paths))} has {len(kinds)} convolutions, expected the {len(KINDS)} of "
            "MobileNetV1 from first to last; pass both files of a network in two, that with the first layers first"
        )
    names = ["features.0.0", *[f"features.{i}.{j}.conv.conv_h2h" for i in range(1, 14) for j in (0, 1)]]
    for name, (kind, weight, bias, _) in zip(names, layers, strict=False):
        # [out, k, k, in], or [1, k, k, channels] where depthwise, to [out, in / groups, k, k]
        axes = (3, 0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        norm = "features.0.1" if name == names[0] else name.replace("conv.conv_h2h", "bn_h")
        weights[f"{name}.weight"] = np.ascontiguousarray(weight.transpose(axes))
        weights |= identity_norm(norm, bias)
    _, weight, bias, _ = layers[-1]
    first = int(len(bias) == BACKGROUND)
    weights["fc.weight"], weights["fc.bias"] = weight[first:, 0, 0].T.copy(), bias[first:]
    activation = "relu6" if all(act == "RELU6" for *_, act in layers[:-1]) else "relu"
    scale = len(weights["features.0.0.weight"]) / 32
    options = {"num_classes": len(bias) - first, "scale": scale, "activation": activation, "padding": "same"}
    return weights, options


def identity_norm(name: str, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Batch norm ``name`` that adds ``bias`` [C] and changes nothing else."""
    one, zero = np.ones_like(bias), np.zeros_like(bias)
    values = {"weight": one, "bias": bias, "_mean": zero, "_variance": one - np.float32(_EPSILON)}
    return {f"{name}.{key}": value for key, value in values.items()}


def _read_convolutions(path: Path) -> list[tuple[str, np.ndarray, np.ndarray, str]]:
    """Kind, weight, bias and activation of each convolution of a file, in order."""
    try:
        import tflite
    except ImportError:
        raise UserError(
            f"{path} needs the package tflite, which cannot be imported; pip install -r requirements-convert.txt"
        ) from None
    if not path.is_file():
        raise UserError(f"there is no file {path}; pass a TFLite file")
    check_room(5 * path.stat().st_size, str(path))  # 8 bits become 32
    data = path.read_bytes()
    codes = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name in KINDS}
    activations = {code: name for name, code in vars(tflite.ActivationFunctionType).items() if name.isupper()}
    layers = []
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        graph = model.Subgraphs(0)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = model.OperatorCodes(operator.OpcodeIndex())
            kind = codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
            if kind is None:
                continue
            if len(layers) == len(KINDS):
                raise ValueError("too many convolutions")
            options = tflite.Conv2DOptions() if kind == "CONV_2D" else tflite.DepthwiseConv2DOptions()
            options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
            if options.Padding() != tflite.Padding.SAME and graph.Tensors(operator.Inputs(0)).Shape(1) > 1:
                raise ValueError("a convolution without padding")
            weight, bias = (_read_tensor(tflite, model, graph.Tensors(operator.Inputs(k))) for k in (1, 2))
            layers.append((kind, weight, bias, activations[options.FusedActivationFunction()]))
    except (struct.error, ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise UserError(f"{path} is damaged or not MobileNetV1 as TFLite ({type(error).__name__}: {error})") from None
    return layers


def _read_tensor(tflite, model, tensor) -> np.ndarray:
    """A constant as float32: ``scale * (q - zero_point)`` of a quantized one, where both may be per channel."""
    types = tflite.TensorType
    dtype = {types.FLOAT32: "<f4", types.FLOAT16: "<f2", types.INT32: "<i4", types.UINT8: "u1", types.INT8: "i1"}
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    if isinstance(data, int):
        raise ValueError("a weight that is not a constant")
    shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    values = data.view(dtype[tensor.Type()]).reshape(shape).astype(np.float32)
    quantization = tensor.Quantization()
    if quantization is None or quantization.ScaleLength() == 0:
        return values
    axis = [1] * len(shape)
    axis[quantization.QuantizedDimension()] = -1
    zero, scale = quantization.ZeroPointAsNumpy(), quantization.ScaleAsNumpy()
    return (values - zero.reshape(axis).astype(np.float32)) * scale.reshape(axis)
