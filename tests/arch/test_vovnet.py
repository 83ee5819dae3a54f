"""VoVNet, DenseNet for CIFAR and their hybrids against functions written from the papers, on the same weights."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppcls_lite.arch import build_model
from ppcls_lite.arch.vovnet import VARIANTS
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.utils.errors import UserError


class Weights:
    """A network's weights by name, each taken once and copied, so that gradients are the reference's own."""

    def __init__(self, network):
        self.left = {name: value.clone().detach() for name, value in network.state_dict().items()}
        self.taken = {}

    def __call__(self, name):
        value = self.taken[name] = self.left.pop(name)
        value.stop_gradient = name.endswith(("_mean", "_variance"))
        return value

    def norm(self, x, name):
        mean, variance, scale, shift = (self(f"{name}.{part}") for part in ("_mean", "_variance", "weight", "bias"))
        shape = [1, -1, 1, 1]
        x = (x - mean.reshape(shape)) / (variance.reshape(shape) + 1e-5).sqrt()
        return x * scale.reshape(shape) + shift.reshape(shape)

    def conv(self, x, name, stride=1):
        weight = self(f"{name}.weight")
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    def post(self, x, name, stride=1):  # conv, norm, relu
        return F.relu(self.norm(self.conv(x, f"{name}.conv", stride), f"{name}.bn"))

    def pre(self, x, name):  # norm, relu, conv
        return self.conv(F.relu(self.norm(x, f"{name}.bn")), f"{name}.conv")

    def classify(self, x):
        return x.mean([2, 3]) @ self("fc.weight") + self("fc.bias")


def vovnet(w, x, variant, stem, identity, bottleneck):
    strides, pooled = {
        "code": ((2, 1, 2), (2, 3, 4)),
        "paper": ((2, 1, 1), (1, 2, 3, 4)),
        "cifar": ((1, 1, 1), (2, 3, 4)),
    }[stem]
    for i, stride in enumerate(strides):
        x = w.post(x, f"stem.{i}", stride)
    for stage, modules in enumerate(VARIANTS[variant][2]):
        if stage + 1 in pooled:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for module in range(modules):
            start, features = x, [x]
            for layer in range(5):
                name = f"stages.{stage}.{module}.aggregation.layers.{layer}"
                x = w.post(w.post(x, f"{name}.0"), f"{name}.1") if bottleneck else w.post(x, name)
                features.append(x)
            x = w.post(paddle.concat(features, axis=1), f"stages.{stage}.{module}.concat")
            if identity and module:
                x = x + start
    return w.classify(x)


def cifar(w, x, layers, dense, bottleneck=False, third_transition=False):
    x = w.conv(x, "conv")
    for block in range(3):
        features = [x]
        for layer in range(layers):
            name = f"blocks.{block}.layers.{layer}"
            x = paddle.concat(features, axis=1) if dense else features[-1]
            features.append(w.pre(w.pre(x, f"{name}.0"), f"{name}.1") if bottleneck else w.pre(x, name))
        x = paddle.concat(features, axis=1)
        if block < 2:
            x = F.avg_pool2d(w.pre(x, f"transitions.{block}"), 2)
        elif third_transition:
            x = w.pre(x, "transitions.2")
    return w.classify(F.relu(w.norm(x, "bn")))


CASES = {
    "vovnet27_slim": [
        (
            {"stem": stem, "bottleneck": bottleneck},
            lambda w, x, s=stem, b=bottleneck: vovnet(w, x, "27_slim", s, True, b),
        )
        for stem in ("code", "paper", "cifar")
        for bottleneck in (False, True)
    ],
    "vovnet39": [
        ({"identity": identity}, lambda w, x, i=identity: vovnet(w, x, "39", "code", i, False))
        for identity in (True, False)
    ],
    "vovnet57": [({}, lambda w, x: vovnet(w, x, "57", "code", True, False))],
    "densenet40": [({}, lambda w, x: cifar(w, x, 12, dense=True))],
    "densenet_cifar": [
        ({"depth": 22, "growth": 8}, lambda w, x: cifar(w, x, 3, dense=True, bottleneck=True)),
        ({"depth": 13, "growth": 6, "bottleneck": False}, lambda w, x: cifar(w, x, 3, dense=True)),
    ],
    "osa40_12x20": [({}, lambda w, x: cifar(w, x, 12, dense=False, third_transition=True))],
    "osa40_5x43": [({}, lambda w, x: cifar(w, x, 5, dense=False, third_transition=True))],
}


@pytest.mark.parametrize(
    ("name", "options", "reference"), [(name, *case) for name, cases in CASES.items() for case in cases]
)
def test_network_equals_the_functional_reference_forward_and_gradient(name, options, reference, rng):
    paddle.seed(0)
    network = build_model(name, num_classes=5, **options)
    for layer in network.sublayers():  # statistics and scales that are not the identity
        if isinstance(layer, paddle.nn.BatchNorm2D):
            size = layer._mean.shape
            layer._mean.set_value(0.1 * rng.standard_normal(size).astype("float32"))
            layer._variance.set_value(rng.uniform(0.5, 1.5, size).astype("float32"))
            layer.weight.set_value(rng.uniform(0.8, 1.2, size).astype("float32"))
    network.eval()
    network.to(dtype="float64")  # in float32 a ReLU near zero may open in one and not in the other
    x = paddle.to_tensor(rng.standard_normal((2, 3, 40, 36)))
    direction = paddle.to_tensor(rng.standard_normal((2, 5)).astype("float32"))
    weights = Weights(network)
    ours, theirs = network(x), reference(weights, x)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5 * np.abs(theirs.numpy()).max())
    assert weights.left == {}  # the reference used every weight
    (ours * direction).sum().backward()
    (theirs.astype("float32") * direction).sum().backward()
    for key, parameter in network.named_parameters():
        if parameter.stop_gradient:  # batch norm's statistics
            continue
        expected = weights.taken[key].grad.numpy()
        np.testing.assert_allclose(
            parameter.grad.numpy(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max() + 1e-9, err_msg=key
        )


@pytest.mark.parametrize(
    ("name", "params", "code", "paper"),
    [
        ("vovnet27_slim", 3_525_736, 2_176_695_296, 2_870_328_320),
        ("vovnet39", 22_600_296, 7_072_227_328, 7_765_860_352),
        ("vovnet57", 36_640_296, 8_930_144_256, 9_623_777_280),
    ],
)
@pytest.mark.usefixtures("zero_weights")
def test_vovnet_has_the_published_params_and_multiply_adds_with_both_stems(name, params, code, paper):
    for stem, macs in (("code", code), ("paper", paper)):
        network = build_model(name, stem=stem)
        assert (count_params(network), count_macs(network, 224)) == (params, macs)


@pytest.mark.parametrize(
    ("name", "params", "macs"), [("vovnet27_slim", 2_425_416, 1_597_971_584), ("vovnet39", 14_132_808, 4_741_501_952)]
)
@pytest.mark.usefixtures("zero_weights")
def test_the_bottleneck_saves_params_and_multiply_adds(name, params, macs):
    network = build_model(name, bottleneck=True)
    assert (count_params(network), count_macs(network, 224)) == (params, macs)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("densenet121", 7_978_856),
        ("densenet161", 28_681_000),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
        ("densenet40", 1_019_722),
        ("densenet_cifar", 769_162),  # DenseNet-BC (100, 12): 0.8M in the paper's Table 2
        ("osa40_12x20", 909_970),
        ("osa40_5x43", 1_027_200),
    ],
)
@pytest.mark.usefixtures("zero_weights")
def test_densenets_and_hybrids_have_the_published_params(name, params):
    assert count_params(build_model(name)) == params


def test_densenet_equals_paddle_vision(rng):
    ours = build_model("densenet121", num_classes=7)
    theirs = paddle.vision.models.densenet121(num_classes=7)
    theirs.set_state_dict(ours.state_dict())
    ours.eval()
    theirs.eval()
    x = paddle.to_tensor(rng.standard_normal((1, 3, 64, 64)).astype("float32"))
    np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"depth": 41}, {"depth": 4}, {"depth": 40, "bottleneck": True, "compression": 0.0}]
)
def test_a_depth_that_is_none_and_a_compression_to_nothing_are_refused(options):
    with pytest.raises(UserError, match=r"depth is|leaves no channel"):
        build_model("densenet_cifar", **options)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.usefixtures("zero_weights")
def test_scale_multiplies_every_width(bottleneck):
    whole, half = (
        build_model("vovnet27_slim", scale=scale, bottleneck=bottleneck, num_classes=7) for scale in (1, 0.5)
    )
    assert [channels * 2 for channels in half.feature_channels] == list(whole.feature_channels)
    shapes = zip(half.state_dict().items(), whole.state_dict().items(), strict=True)
    for (name, narrow), (same, wide) in shapes:
        expected = [side if side in (1, 3, 7) else side // 2 for side in wide.shape]
        assert name == same and narrow.shape == expected
    assert build_model("vovnet27_slim", scale=0.016, bottleneck=bottleneck)(paddle.ones([1, 3, 32, 32])).shape == [
        1,
        1000,
    ]
    with pytest.raises(UserError, match=r"scale 0\.01 leaves no channel"):
        build_model("vovnet27_slim", scale=0.01)
