"""The operator against an independent reference, its identities, its gradients and its errors."""

import itertools

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import ConvBN, ConvBNAct, OctaveConv, octave, split_channels
from ppcls_lite.utils.errors import UserError
from tests.arch import reference

ALPHAS = [0.0, 0.25, 0.5, 1.0]
PATHS = ("h2h", "l2h", "l2l", "h2l")


def make_pair(rng, channels, alpha, size, dtype="float32"):
    """A random pair with absent branches None."""
    high, low = split_channels(channels, alpha)
    h, w = size
    x_h = rng.standard_normal((2, high, h, w)).astype(dtype) if high else None
    x_l = rng.standard_normal((2, low, (h + 1) // 2, (w + 1) // 2)).astype(dtype) if low else None
    return x_h, x_l


def tensors(pair):
    return tuple(None if x is None else paddle.to_tensor(x) for x in pair)


def weights_of(layer):
    convs = {path: getattr(layer, f"conv_{path}") for path in PATHS}
    return {path: conv.weight.numpy() for path, conv in convs.items() if conv is not None}


def assert_equals_reference(layer, x, stride, padding, dilation, groups, downsample, tolerance=1e-4):
    expected = reference.octave_conv(*x, weights_of(layer), stride, padding, dilation, groups, downsample)
    actual = layer(tensors(x))
    for name, a, e in zip(("high", "low"), actual, expected, strict=True):
        assert (a is None) == (e is None), f"{name} branch"
        if e is not None:
            assert list(a.shape) == list(e.shape)
            np.testing.assert_allclose(a.numpy(), e, atol=tolerance)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 6)])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_numpy_reference(rng, stride, size, downsample):
    for alpha_in, alpha_out, kernel, groups in itertools.product(ALPHAS, ALPHAS, (1, 3), (1, 2)):
        padding = kernel // 2
        layer = OctaveConv(16, 24, kernel, alpha_in, alpha_out, stride, padding, groups=groups, downsample=downsample)
        x = make_pair(rng, 16, alpha_in, size)
        assert_equals_reference(layer, x, stride, padding, 1, dict.fromkeys(PATHS, groups), downsample)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_equals_numpy_reference_and_has_no_exchange(rng, stride, size, downsample):
    for alpha, kernel in itertools.product(ALPHAS, (1, 3)):
        layer = OctaveConv(16, 16, kernel, alpha, alpha, stride, kernel // 2, groups=16, downsample=downsample)
        assert layer.conv_h2l is None and layer.conv_l2h is None
        high, low = split_channels(16, alpha)
        x = make_pair(rng, 16, alpha, size)
        assert_equals_reference(layer, x, stride, kernel // 2, 1, {"h2h": high, "l2l": low}, downsample)


@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_equals_numpy_reference(rng, stride):
    layer = OctaveConv(8, 8, 3, 0.5, 0.5, stride, padding=2, dilation=2)
    x = make_pair(rng, 8, 0.5, (9, 8))
    assert_equals_reference(layer, x, stride, 2, 2, dict.fromkeys(PATHS, 1), "pool")


def test_bias_is_added_on_every_path(rng):
    layer = OctaveConv(8, 8, 1, bias=True)
    x = tensors(make_pair(rng, 8, 0.5, (4, 4)))
    for path in PATHS:
        bias = getattr(layer, f"conv_{path}").bias
        bias.set_value(paddle.full_like(bias, 0.0))
    y_h, y_l = layer(x)
    for path in PATHS:
        bias = getattr(layer, f"conv_{path}").bias
        bias.set_value(paddle.full_like(bias, 1.0))
    z_h, z_l = layer(x)
    np.testing.assert_allclose((z_h - y_h).numpy(), 2.0, atol=1e-5)
    np.testing.assert_allclose((z_l - y_l).numpy(), 2.0, atol=1e-5)


def test_kernel_1_on_cells_of_equal_pixels_equals_one_plain_convolution(rng):
    layer = OctaveConv(8, 12, 1, 0.5, 0.25)
    cells = rng.standard_normal((2, 8, 3, 4)).astype("float32")
    x = cells.repeat(2, axis=2).repeat(2, axis=3)  # constant over 2x2 cells
    w = weights_of(layer)
    block = np.concatenate(
        [np.concatenate([w["h2h"], w["l2h"]], axis=1), np.concatenate([w["h2l"], w["l2l"]], axis=1)]
    )  # rows: high and low outputs, columns: high and low inputs
    y = reference.conv2d(x, block)
    y_h, y_l = layer(tensors((x[:, :4], cells[:, 4:])))
    np.testing.assert_allclose(y_h.numpy(), y[:, :9], atol=1e-5)
    np.testing.assert_allclose(y_l.numpy(), y[:, 9:, ::2, ::2], atol=1e-5)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("alphas", [(0.0, 0.5), (0.5, 0.5), (0.5, 0.0), (0.25, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_gradients_equal_finite_differences(rng, alphas, stride, downsample, size):
    layer = OctaveConv(8, 8, 3, *alphas, stride, 1, downsample=downsample)
    layer.to(dtype="float64")
    x = tensors(make_pair(rng, 8, alphas[0], size, "float64"))
    leaves = [t for t in x if t is not None] + layer.parameters()
    for leaf in leaves:
        leaf.stop_gradient = False
    probes = [rng.standard_normal(y.shape) if y is not None else None for y in layer(x)]

    def value():
        return sum((y * paddle.to_tensor(p)).sum() for y, p in zip(layer(x), probes, strict=True) if y is not None)

    value().backward()
    for leaf in leaves:
        direction, step, here = rng.standard_normal(leaf.shape), 1e-5, leaf.numpy()
        with paddle.no_grad():
            leaf.set_value(here + step * direction)
            above = float(value())
            leaf.set_value(here - step * direction)
            below = float(value())
            leaf.set_value(here)
        slope = float((leaf.grad.numpy() * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("size", [(6, 8), (7, 8), (6, 9), (5, 5), (1, 1)])
def test_add_upsampled_equals_upsample_then_add(rng, size):
    h, w = size
    y_h = paddle.to_tensor(rng.standard_normal((2, 3, h, w)))
    y_l = paddle.to_tensor(rng.standard_normal((2, 3, (h + 1) // 2, (w + 1) // 2)))
    expected = y_h.numpy() + reference.upsample2(y_l.numpy(), y_h)
    np.testing.assert_array_equal(octave.add_upsampled(y_h, y_l).numpy(), expected)


@pytest.mark.parametrize(
    ("exchange", "paths"),
    [
        ("both", {"h2h", "l2h", "l2l", "h2l"}),
        ("h2l", {"h2h", "l2l", "h2l"}),
        ("l2h", {"h2h", "l2l", "l2h"}),
        ("none", {"h2h", "l2l"}),
    ],
)
def test_exchange_chooses_the_paths_between_two_branches(exchange, paths):
    assert set(weights_of(OctaveConv(8, 8, 1, exchange=exchange))) == paths
    # Where a branch opens or closes there is one way only, and it stays.
    assert set(weights_of(OctaveConv(8, 8, 1, 0.0, 0.5, exchange=exchange))) == {"h2h", "h2l"}
    assert set(weights_of(OctaveConv(8, 8, 1, 0.5, 0.0, exchange=exchange))) == {"h2h", "l2h"}


def test_split_loses_no_channel_to_rounding():
    assert split_channels(100, 0.29) == (71, 29)  # 0.29 * 100 is 28.999999999999996
    for channels in range(1, 200):
        for eighths in range(9):
            assert split_channels(channels, eighths / 8)[1] == channels * eighths // 8


def test_conv_bn_normalises_each_branch_and_act_clips_it(rng):
    x = tensors(make_pair(rng, 8, 0.5, (8, 8)))
    for branch in ConvBN(8, 16, 1)(x):
        np.testing.assert_allclose(branch.numpy().mean(axis=(0, 2, 3)), 0.0, atol=1e-5)
        np.testing.assert_allclose(branch.numpy().std(axis=(0, 2, 3)), 1.0, atol=1e-3)
    for branch in ConvBNAct(8, 16, 1)(x):
        assert branch.numpy().min() == 0.0


def test_poolings_are_computed_once_however_many_convolutions_read_them(rng, monkeypatch):
    calls = []
    pool2 = octave.pool2
    monkeypatch.setattr(octave, "pool2", lambda x: calls.append(x.shape) or pool2(x))
    x = octave.OctaveInput(tensors(make_pair(rng, 8, 0.5, (8, 8))))
    for stride in (1, 2):
        OctaveConv(8, 8, 1, stride=stride)(x)
        OctaveConv(8, 16, 1, stride=stride)(x)
    assert len(calls) == 3  # high to 1/2 and to 1/4, low to 1/2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 3}, "stride is 3, expected 1 or 2"),
        ({"alpha_in": 1.5}, "expected values in"),
        ({"kernel_size": 3}, "must preserve the size"),
        ({"groups": 3}, "not divisible by 3 groups"),
        ({"groups": 8, "alpha_out": 0.0}, "depthwise"),
    ],
)
def test_impossible_layers_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        OctaveConv(**{"in_channels": 8, "out_channels": 8, "kernel_size": 1, **arguments})


def test_wrong_branches_are_refused(rng):
    x_h, x_l = tensors(make_pair(rng, 8, 0.5, (4, 4)))
    with pytest.raises(UserError, match="lacks a low branch"):
        OctaveConv(8, 8, 1)(x_h)
    with pytest.raises(UserError, match="has a low branch"):
        OctaveConv(4, 8, 1, 0.0, 0.5)((x_h, x_l))
