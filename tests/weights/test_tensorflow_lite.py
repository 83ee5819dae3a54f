"""MobileNetV1 from TFLite files, written here; needs the package tflite (requirements-convert.txt)."""

import sys

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppcls_lite.arch import build_model
from ppcls_lite.arch.mobilenet import BLOCKS
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.convert import convert
from ppcls_lite.weights.load import load_weights
from ppcls_lite.weights.tensorflow_lite import identity_norm

SCALE = 0.125


def test_tflite_files_need_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(
        UserError, match="needs the package tflite, which cannot be imported; pip install -r requirements"
    ):
        convert(tmp_path / "x.tflite", "mobilenet_v1")


def test_files_of_other_networks_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.tflite files of resnet50 are not supported; known: mobilenet_v1"):
        convert(tmp_path / "x.tflite", "resnet50")
    with pytest.raises(UserError, match="there is no model 'mobilenet_v9'"):
        convert(tmp_path / "x.tflite", "mobilenet_v9")


def test_an_identity_norm_adds_its_bias_only():
    norm = paddle.nn.BatchNorm2D(4)
    bias = np.arange(4, dtype="float32")
    norm.set_state_dict({name.removeprefix("x."): value for name, value in identity_norm("x", bias).items()})
    norm.eval()
    x = paddle.randn([2, 4, 3, 3])
    np.testing.assert_allclose(norm(x).numpy(), x.numpy() + bias[:, None, None], rtol=2e-7, atol=2e-7)


def random_layers(rng, classes, per_channel=False):
    """(kind, stride, activation, quantized weight, its scale and zero point, bias, its scale) of every convolution."""
    layers, channels = [], int(32 * SCALE)

    def add(kind, shape, stride, axis, act):
        count = shape[axis] if per_channel else 1
        fan_in = int(np.prod(shape)) // shape[axis]
        scale = rng.uniform(0.5, 1.5, count).astype("float32") / (60 * fan_in**0.5)
        dtype, zero = ("int8", np.zeros(count, int)) if per_channel else ("uint8", np.array([rng.integers(100, 150)]))
        weight = rng.integers(-127 if per_channel else 0, 127 if per_channel else 255, shape).astype(dtype)
        bias = rng.integers(-2000, 2000, shape[axis]).astype("int32")
        layers.append((kind, stride, act, weight, (scale, zero, axis), bias, 1e-4))

    add("CONV_2D", (channels, 3, 3, 3), 2, 0, "RELU6")
    for width, stride in BLOCKS:
        add("DEPTHWISE_CONV_2D", (1, 3, 3, channels), stride, 3, "RELU6")
        add("CONV_2D", (int(width * SCALE), 1, 1, channels), 1, 0, "RELU6")
        channels = int(width * SCALE)
    add("CONV_2D", (classes, 1, 1, channels), 1, 0, "NONE")
    return layers


def dequantize(layer):
    _, _, _, weight, (scale, zero, axis), bias, bias_scale = layer
    shape = [-1 if i == axis else 1 for i in range(4)]
    weight = (weight.astype("float32") - zero.reshape(shape)) * scale.reshape(shape)
    return weight.astype("float32"), (bias * bias_scale).astype("float32")


def reference(layers, images):
    """The network as TensorFlow computes it, in float: "same" padding, ReLU6."""
    x = images
    for i, layer in enumerate(layers):
        kind, stride, act = layer[:3]
        weight, bias = map(paddle.to_tensor, dequantize(layer))
        weight = weight.transpose([3, 0, 1, 2] if kind == "DEPTHWISE_CONV_2D" else [0, 3, 1, 2])
        if i + 1 == len(layers):
            x = x.mean([2, 3], keepdim=True)
        pad = 0 if weight.shape[2] == 1 else [0, 1, 0, 1] if stride == 2 else 1
        x = F.pad(x, pad) if isinstance(pad, list) else x
        groups = x.shape[1] if kind == "DEPTHWISE_CONV_2D" else 1
        x = F.conv2d(x, weight, bias, stride, 0 if isinstance(pad, list) else pad, groups=groups)
        x = F.relu6(x) if act == "RELU6" else x
    return x.flatten(1)


@pytest.fixture
def write(tmp_path):
    """``write(layers, name)``: a TFLite file of these convolutions, each with its own side as input."""
    flatbuffers, tflite = pytest.importorskip("flatbuffers"), pytest.importorskip("tflite")

    def make(layers, name="net.tflite", padding=0):
        builder = flatbuffers.Builder(1 << 20)

        def vector(start, items, append):
            start(builder, len(items))
            for item in reversed(items):
                append(item)
            return builder.EndVector()

        buffers, tensors, operators = [], [], []

        def tensor(shape, kind, data=None, quantization=None):
            content = builder.CreateByteVector(data.tobytes()) if data is not None else None
            tflite.BufferStart(builder)
            if content is not None:
                tflite.BufferAddData(builder, content)
            buffers.append(tflite.BufferEnd(builder))
            parts = None
            if quantization is not None:
                scale, zero, axis = quantization
                scales = builder.CreateNumpyVector(np.asarray(scale, "float32"))
                zeros = builder.CreateNumpyVector(np.asarray(zero, "int64"))
                tflite.QuantizationParametersStart(builder)
                tflite.QuantizationParametersAddScale(builder, scales)
                tflite.QuantizationParametersAddZeroPoint(builder, zeros)
                tflite.QuantizationParametersAddQuantizedDimension(builder, axis if len(scale) > 1 else 0)
                parts = tflite.QuantizationParametersEnd(builder)
            dimensions = vector(tflite.TensorStartShapeVector, shape, builder.PrependInt32)
            tflite.TensorStart(builder)
            tflite.TensorAddShape(builder, dimensions)
            tflite.TensorAddType(builder, kind)
            tflite.TensorAddBuffer(builder, len(buffers) - 1)
            if parts is not None:
                tflite.TensorAddQuantization(builder, parts)
            tensors.append(tflite.TensorEnd(builder))
            return len(tensors) - 1

        types = tflite.TensorType
        for kind, stride, act, weight, quantization, bias, bias_scale in layers:
            options = "DepthwiseConv2DOptions" if kind == "DEPTHWISE_CONV_2D" else "Conv2DOptions"
            numbers = [
                tensor([1, 8, 8, weight.shape[3]], types.UINT8),
                tensor(weight.shape, types.INT8 if weight.dtype == "int8" else types.UINT8, weight, quantization),
                tensor(bias.shape, types.INT32, bias, ([bias_scale], [0], 0)),
            ]
            inputs = vector(tflite.OperatorStartInputsVector, numbers, builder.PrependInt32)
            getattr(tflite, f"{options}Start")(builder)
            getattr(tflite, f"{options}AddPadding")(builder, padding)
            getattr(tflite, f"{options}AddStrideH")(builder, stride)
            getattr(tflite, f"{options}AddStrideW")(builder, stride)
            activation = getattr(tflite.ActivationFunctionType, act)
            getattr(tflite, f"{options}AddFusedActivationFunction")(builder, activation)
            extra = getattr(tflite, f"{options}End")(builder)
            tflite.OperatorStart(builder)
            tflite.OperatorAddOpcodeIndex(builder, int(kind == "DEPTHWISE_CONV_2D"))
            tflite.OperatorAddInputs(builder, inputs)
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(builder, extra)
            operators.append(tflite.OperatorEnd(builder))
        parts = [
            vector(tflite.SubGraphStartTensorsVector, tensors, builder.PrependUOffsetTRelative),
            vector(tflite.SubGraphStartOperatorsVector, operators, builder.PrependUOffsetTRelative),
        ]
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, parts[0])
        tflite.SubGraphAddOperators(builder, parts[1])
        graphs = [tflite.SubGraphEnd(builder)]
        codes = []
        for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            tflite.OperatorCodeStart(builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, getattr(tflite.BuiltinOperator, kind))
            tflite.OperatorCodeAddBuiltinCode(builder, getattr(tflite.BuiltinOperator, kind))
            codes.append(tflite.OperatorCodeEnd(builder))
        parts = [
            vector(start, items, builder.PrependUOffsetTRelative)
            for start, items in (
                (tflite.ModelStartOperatorCodesVector, codes),
                (tflite.ModelStartSubgraphsVector, graphs),
                (tflite.ModelStartBuffersVector, buffers),
            )
        ]
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, parts[0])
        tflite.ModelAddSubgraphs(builder, parts[1])
        tflite.ModelAddBuffers(builder, parts[2])
        builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
        (tmp_path / name).write_bytes(bytes(builder.Output()))
        return tmp_path / name

    return make


@pytest.mark.parametrize(("classes", "per_channel"), [(7, False), (7, True), (1001, False)])
def test_outputs_equal_those_of_the_dequantized_network(classes, per_channel, write, rng):
    layers = random_layers(rng, classes, per_channel)
    found = convert(write(layers), "mobilenet_v1")
    kept = 1000 if classes == 1001 else classes
    options = {"num_classes": kept, "scale": SCALE, "activation": "relu6", "padding": "same"}
    assert found.options == options and found.source == "TFLite"
    network = build_model("mobilenet_v1", **options)
    load_weights(network, found.weights, "x")
    network.eval()
    images = paddle.to_tensor(rng.uniform(-1, 1, (2, 3, 64, 64)).astype("float32"))
    expected = reference(layers, images).numpy()[:, classes - kept :]  # without the background
    assert expected.std() > 0.01
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_network_in_two_files_is_one(write, rng):
    layers = random_layers(rng, 5)
    whole = convert(write(layers), "mobilenet_v1")
    parts = [write(layers[:-1], "backbone.tflite"), write(layers[-1:], "head.tflite")]
    found = convert(parts, "mobilenet_v1")
    assert found.options == whole.options
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(found.weights[name], array)
    for wrong in (parts[:1], parts[::-1], parts[1:]):
        with pytest.raises(UserError, match=r"convolutions, expected the 28 of MobileNetV1 from first to last"):
            convert(wrong, "mobilenet_v1")


def test_what_is_damaged_or_another_network_is_refused_in_a_sentence(write, rng):
    layers = random_layers(rng, 5)
    path = write(layers)
    whole = path.read_bytes()
    for _ in range(60):
        cut = bytearray(whole[: int(rng.integers(8, len(whole)))])
        for place in rng.integers(0, len(cut), 20):
            cut[place] = rng.integers(0, 256)
        path.write_bytes(cut)
        with pytest.raises(UserError, match=r"damaged or not MobileNetV1|expected the 28 of|does not fit"):
            convert(path, "mobilenet_v1")
    with pytest.raises(UserError, match="a convolution without padding"):
        convert(write(layers, padding=1), "mobilenet_v1")
    with pytest.raises(UserError, match="too many convolutions"):
        convert(write([*layers, layers[-1]]), "mobilenet_v1")
    with pytest.raises(UserError, match="there is no file"):
        convert(path.with_name("nothing.tflite"), "mobilenet_v1")
