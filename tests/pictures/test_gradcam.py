"""Grad-CAM: maps of networks whose answer is known, and of every network."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_lite.arch import build_model, model_options
from ppcls_lite.arch.base import Backbone
from ppcls_lite.arch.registry import fixed_input_size, image_models, smallest_input_size
from ppcls_lite.pictures.gradcam import Explanation, draw_explanations, enlarge, grad_cam

# The same classes as smaller networks.
LARGE = (
    *("101", "152", "161", "169", "200", "201", "vovnet39", "vovnet57"),
    *("vgg13", "vgg16", "vgg19", "64x4d", "x1_0", "x1_5", "x2_0"),
)


class Corner(Backbone, nn.Layer):
    """Output 0 rises with the light in the upper left quarter, output 1 falls with it, output 2 ignores the image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(1, 2, 1, bias_attr=False)
        self.conv.weight.set_value(paddle.ones([2, 1, 1, 1]))
        self.fc = nn.Linear(2, 3)
        self.fc.weight.set_value(paddle.to_tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]))

    def forward_features(self, x):
        x = F.relu(self.conv(x))
        mask = paddle.zeros([1, 2, *x.shape[2:]])
        mask[:, 0, : x.shape[2] // 2, : x.shape[3] // 2] = 1
        mask[:, 1] = 1
        return [x * mask]

    def pool_features(self, x):
        return x.mean([2, 3])


def test_the_map_is_where_the_class_comes_from(rng):
    image = paddle.to_tensor(rng.uniform(0.5, 1, (1, 1, 8, 8)).astype("float32"))
    outputs, maps = grad_cam(Corner(), image, lambda values: 0)
    (values,) = maps.values()
    assert outputs.shape == (3,) and values.shape == (8, 8)
    assert (values[:4, :4] > 0).all() and values.sum() == pytest.approx(values[:4, :4].sum())
    shown = enlarge(values, 32, 32)
    assert shown.shape == (32, 32) and shown.max() <= 1 and shown[:14, :14].min() > 0.4 and shown[20:, 20:].max() == 0


@pytest.mark.parametrize("index", [1, 2])
def test_what_lowers_an_output_or_leaves_it_is_not_shown(index, rng):
    image = paddle.to_tensor(rng.uniform(0.5, 1, (1, 1, 8, 8)).astype("float32"))
    _, maps = grad_cam(Corner(), image, lambda values: index)
    assert not enlarge(maps["last stage"], 16, 16).any()


@pytest.mark.parametrize("name", ["resnet20", "oct_resnet20", "mobilenet_v1", "vovnet27_slim"])
def test_with_average_pooling_it_is_the_class_activation_map(name, rng):
    """Paper section 3.1: the weights are then those of the last layer, divided by the number of positions."""
    paddle.seed(0)
    network = build_model(name, num_classes=4)
    network.eval()
    image = paddle.to_tensor(rng.standard_normal((1, 3, 64, 64)).astype("float32"))
    outputs, maps = grad_cam(network, image, lambda values: 2)
    features = network.forward_features(image)[-1].numpy()[0]
    positions = features.shape[1] * features.shape[2]
    expected = np.maximum(np.einsum("chw,c->hw", features, network.fc.weight.numpy()[:, 2]) / positions, 0)
    assert maps["last stage"] == pytest.approx(expected, rel=1e-4, abs=1e-5 * float(expected.max()))
    assert outputs == pytest.approx(network(image).numpy()[0])


@pytest.mark.parametrize("name", [name for name in image_models() if not any(part in name for part in LARGE)])
def test_every_network_has_maps_and_octave_networks_one_for_each_branch(name):
    paddle.seed(0)
    options = model_options(name)
    network = build_model(name, num_classes=4)
    network.eval()
    size = fixed_input_size(name) or max(64, smallest_input_size(name))
    channels = options["in_channels"].default if "in_channels" in options else 3
    image = paddle.randn([1, channels, size, size])
    outputs, maps = grad_cam(network, image, lambda values: int(values.argmax()))
    assert outputs.shape == (4,) and all(np.isfinite(one).all() and one.min() >= 0 for one in maps.values())
    features = network.forward_features(image)
    assert maps["last stage"].shape == tuple(features[-1].shape[2:])
    branches = {key.split()[-1]: one.shape for key, one in maps.items() if key != "last stage"}
    assert set(branches) == ({"high", "low"} if name.startswith("oct_") else set())
    if branches:
        assert branches["high"] == tuple(2 * side for side in branches["low"])


def test_a_network_that_is_low_all_through_has_the_low_map_only():
    network = build_model("oct_resnet20", alpha=1.0)
    network.eval()
    _, maps = grad_cam(network, paddle.randn([1, 3, 32, 32]), lambda values: 0)
    assert list(maps) == ["last stage", "stage 2 low"]


def test_frozen_networks_have_the_same_maps():
    network = build_model("oct_resnet20")
    network.eval()
    image = paddle.randn([1, 3, 32, 32])
    _, expected = grad_cam(network, image.clone(), lambda values: 0)
    for parameter in network.parameters():
        parameter.stop_gradient = True
    _, found = grad_cam(network, image, lambda values: 0)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_for_each_image_can_be_drawn(channels, rng, tmp_path):
    image = rng.integers(0, 256, (channels, 12, 16), dtype=np.uint8)
    maps = {name: rng.random((12, 16)) for name in ("last stage", "stage 2 high")}
    rows = [Explanation(f"$\udcff{i}\n.png", image, "a $_ 51.0%", "b", maps) for i in range(2)]
    figure = draw_explanations(rows, "x$_")
    assert len(figure.axes) == 2 * 3
    figure.savefig(tmp_path / "x.png")
