"""Properties of every registered network. A new model is tested with no new test code."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppcls_lite.arch import OctaveConv, build_model, model_options
from ppcls_lite.arch.base import StandardizedLinear, replace_head
from ppcls_lite.arch.registry import (
    MODELS,
    check_input_size,
    default_input_size,
    fixed_input_size,
    image_models,
    smallest_input_size,
)
from ppcls_lite.arch.tracing import trace_unrewritten
from ppcls_lite.arch.vision import Dropout, averages
from ppcls_lite.arch.xception import SeparableBN
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.measure.subject import parse_subjects
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import load_weights
from ppcls_lite.weights.names import from_paddle_vision

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
ARTICLE = json.loads((Path(__file__).parent / "article_state_dict.json").read_text())


UNPADDED = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1", "xception")  # layers that leave borders out

WRAPPED = (  # one of every class of paddle.vision
    *("vgg11", "inception_v3", "googlenet", "squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x0_25"),
    *("shufflenet_v2_swish", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnext50_32x4d"),
)
DEEP = ("resnet50", "resnet56", "vovnet57", "101", "152", "161", "169", "200", "201", "264")
OWN = ("oct_mobilenet", "oct_resnet20", "vovnet27_slim", "densenet_cifar", "densenet121", "osa40_5x43", "alexnet")


# Each of our networks, and one of every class of those that are paddle.vision's. Deep ones differ in depth only.
TESTED = [
    pytest.param(name, marks=pytest.mark.slow) if any(deep in name for deep in DEEP) else name
    for name in image_models()
    if name in WRAPPED or MODELS.entry(name).module != "ppcls_lite.arch.vision"
]


@pytest.fixture(scope="module", params=TESTED)
def built(request):
    """(name, network with 7 classes); built once for all tests of a model."""
    paddle.seed(0)
    return request.param, build_model(request.param, num_classes=7)


def images(name, n, height, width):
    """Random images that a model takes: of its channels, of its side where that is fixed, and large enough."""
    channels = model_options(name)["in_channels"].default if "in_channels" in model_options(name) else 3
    fixed, smallest = fixed_input_size(name), smallest_input_size(name)
    return paddle.randn([n, channels, fixed or max(height, smallest), fixed or max(width, smallest)])


def test_params_and_macs_equal_the_golden_file(built):
    name, _ = built
    network = build_model(name, **({"init": "paddle"} if "init" in model_options(name) else {}))
    size, channels = GOLDEN[name]["size"], images(name, 1, 32, 32).shape[1]
    assert {"params": count_params(network), "macs": count_macs(network, size, channels), "size": size} == GOLDEN[name]


@pytest.mark.parametrize("size", [32, 33, 47, 64])
def test_any_size_from_32_gives_finite_float32_logits(built, size):
    name, network = built
    network.eval()
    with paddle.no_grad():
        logits = network(images(name, 1, size, size + 1))
    assert logits.shape == [1, 7] and logits.dtype == paddle.float32
    assert bool(paddle.isfinite(logits).all())


def test_features_have_the_declared_channels_and_strides(built):
    name, network = built
    network.eval()
    with paddle.no_grad():
        features = network.forward_features(images(name, 1, 64, 64))
    assert len(features) == len(network.feature_strides) == len(network.feature_channels)
    for feature, stride, channels in zip(features, network.feature_strides, network.feature_channels, strict=True):
        pair = feature if isinstance(feature, tuple) else (feature,)
        assert sum(branch.shape[1] for branch in pair) == channels
        if fixed_input_size(name) or name in UNPADDED:  # strides are nominal
            continue
        assert pair[0].shape[2:] == [64 // stride, 64 // stride]
        if len(pair) == 2:
            assert pair[1].shape[2:] == [32 // stride, 32 // stride]


def test_every_parameter_gets_a_gradient(built):
    name, network = built
    network.train()
    loss = F.cross_entropy(network(images(name, 4, 64, 64)), paddle.to_tensor([0, 1, 2, 3]))
    loss.backward()
    trainable = [(key, p) for key, p in network.named_parameters() if not p.stop_gradient]
    without = [key for key, p in trainable if p.grad is None or not p.grad.abs().sum()]
    network.clear_gradients()
    assert without == []


@pytest.mark.parametrize("name", ["oct_mobilenet", "mobilenet_v1", "oct_resnet26", "resnet26", "oct_resnet20"])
@pytest.mark.parametrize("size", [(97, 97), (128, 160), (223, 225), (255, 256)])
@pytest.mark.usefixtures("zero_weights")
def test_large_and_odd_sizes(name, size):
    network = build_model(name, num_classes=3, init="paddle")
    network.eval()
    with paddle.no_grad():
        assert network(paddle.randn([1, 3, *size])).shape == [1, 3]


# shared figures: papers and recomputation, bias-free, trainable only
PARAMS = {
    1000: {"mobilenet": 4_231_976, 26: 15_995_176, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808, 200: 64_673_832},
    10: {"mobilenet": 3_217_226, 26: 13_966_666, 50: 23_528_522, 101: 42_520_650, 152: 58_164_298, 200: 62_645_322},
}


@pytest.mark.parametrize("num_classes", [1000, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("depth", ["mobilenet", 26, 50, 101, 152, 200])
@pytest.mark.usefixtures("zero_weights")
def test_octave_and_plain_have_the_published_number_of_parameters(depth, num_classes):
    names = ("oct_mobilenet", "mobilenet_v1") if depth == "mobilenet" else (f"oct_resnet{depth}", f"resnet{depth}")
    for name in names:
        assert count_params(build_model(name, num_classes=num_classes, init="paddle")) == PARAMS[num_classes][depth]


@pytest.mark.usefixtures("zero_weights")
def test_resnet20_has_the_published_number_of_parameters():
    assert count_params(build_model("resnet20", num_classes=10)) == 272_474


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("oct_mobilenet", 3_232_010),
        ("oct_resnet50", 23_572_554),
        ("oct_resnet101", 42_616_906),
        ("oct_resnet152", 58_306_634),
        ("oct_resnet200", 62_812_234),
    ],
)
@pytest.mark.usefixtures("zero_weights")
def test_bias_gives_the_article_s_number_of_parameters(name, params):
    assert count_params(build_model(name, num_classes=10, bias=True, init="paddle")) == params


@pytest.mark.parametrize("name", sorted(ARTICLE))
@pytest.mark.usefixtures("zero_weights")
def test_parameter_names_and_shapes_equal_the_article_s(name):
    network = build_model(name, num_classes=10, bias=True)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == ARTICLE[name]


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("oct_mobilenet", 318_167_680),
        ("mobilenet_v1", 568_740_352),
        ("oct_resnet50", 2_367_143_936),
        ("resnet50", 4_089_184_256),
        ("oct_resnet101", 3_991_240_704),
        ("resnet101", 7_801_405_440),
        ("oct_resnet152", 5_615_337_472),
        ("oct_resnet200", 7_143_899_136),
    ],
)
@pytest.mark.usefixtures("zero_weights")
def test_multiply_adds_at_224_px_equal_the_recomputed_ones(name, macs):
    assert count_macs(build_model(name, init="paddle"), 224) == macs


@pytest.mark.parametrize(
    ("name", "unit", "published"),
    [
        ("oct_resnet50", 1e9, [4.089, 3.565, 3.104, 2.367, 1.880]),
        ("oct_resnet26", 1e9, [2.342, 2.087, 1.858, 1.480, 1.208]),
        pytest.param("oct_resnet101", 1e9, [7.801, 6.625, 5.598, 3.991, 2.982], marks=pytest.mark.slow),
        ("oct_mobilenet", 1e6, [568.7, 492.5, 425.4, 318.2, 247.1]),
    ],
)
@pytest.mark.usefixtures("zero_weights")
def test_multiply_adds_by_alpha_equal_the_table(name, unit, published):
    digits = 3 if unit == 1e9 else 1
    macs = [count_macs(build_model(name, alpha=a, init="paddle"), 224) for a in (0.0, 0.125, 0.25, 0.5, 0.75)]
    # half a unit of the last digit, and what float rounding adds to it
    assert [abs(m / unit - p) <= 0.5001 * 10**-digits for m, p in zip(macs, published, strict=True)] == [True] * 5


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mobilenet_v1", "mobilenet_v1"),
        ("resnet50", "resnet50"),
        ("oct_mobilenet", "mobilenet_v1"),
        ("oct_resnet50", "resnet50"),
    ],
)
def test_alpha_0_with_strides_equals_paddle_vision_forward_and_backward(name, theirs, rng):
    octave = {"alpha": 0.0, "downsample": "stride"} if name.startswith("oct_") else {}
    ours, vision = build_model(name, num_classes=10, **octave), getattr(paddle.vision.models, theirs)(num_classes=10)
    ours_state, vision_state = ours.state_dict(), vision.state_dict()
    assert [v.shape for v in ours_state.values()] == [v.shape for v in vision_state.values()]
    for mine, their in zip(ours_state.values(), vision_state.values(), strict=True):
        mine.set_value(their)

    x = paddle.to_tensor(rng.standard_normal((4, 3, 64, 64)).astype("float32"))
    y = paddle.to_tensor([0, 1, 2, 3])
    for network in (ours, vision):
        network.train()
        F.cross_entropy(network(x), y).backward()
    for (key, mine), their in zip(ours.named_parameters(), vision.parameters(), strict=True):
        if mine.stop_gradient:  # batch-norm statistics
            continue
        np.testing.assert_allclose(mine.grad.numpy(), their.grad.numpy(), atol=1e-5, err_msg=key)
    for network in (ours, vision):
        network.eval()
    np.testing.assert_allclose(ours(x).numpy(), vision(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_networks_equal_those_of_paddle_vision_in_evaluation_and_training(name):
    size = max(64, smallest_input_size(name))
    size = 224 if name == "googlenet" else size  # its auxiliary classifiers take no other
    paddle.seed(0)
    ours, vision = build_model(name, num_classes=5), getattr(paddle.vision.models, name)(num_classes=5)
    weights = {key: value.numpy() for key, value in vision.state_dict().items()}
    load_weights(ours, from_paddle_vision(weights, ours), name)
    x = paddle.randn([2, 3, size, size])

    def outputs(network):
        out = network(x)
        return (out[0] if isinstance(out, list | tuple) else out).numpy()

    for network in (ours, vision):
        network.eval()
    with paddle.no_grad():
        np.testing.assert_allclose(outputs(ours), outputs(vision), rtol=1e-4, atol=1e-5)
        for network in (ours, vision):
            network.train()
            for layer in network.sublayers():
                if isinstance(layer, paddle.nn.Dropout):
                    layer.eval()  # random; that it scales as the other does is seen above
        np.testing.assert_allclose(outputs(ours), outputs(vision), rtol=1e-3, atol=1e-4)


def test_dropout_that_is_scaled_in_inference_equals_paddle_s():
    ours, theirs = Dropout(0.4), paddle.nn.Dropout(0.4, mode="downscale_in_infer")
    x = paddle.randn([50, 50])
    for layer in (ours, theirs):
        paddle.seed(3)
        layer.result = layer(x).numpy()
    np.testing.assert_allclose(ours.result, theirs.result, rtol=1e-6)
    for layer in (ours, theirs):
        layer.eval()
    np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 5, 8, 16])
def test_matrices_of_averages_are_adaptive_pooling(side):
    x = paddle.randn([2, 3, side, 7])
    expected = F.adaptive_avg_pool2d(x, 7).numpy()
    np.testing.assert_allclose((paddle.to_tensor(averages(side, 7)) @ x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_squeezenet_takes_heads_of_other_tasks():
    network = build_model("squeezenet1_1", num_classes=1)
    replace_head(network, lambda linear: StandardizedLinear(linear, mean=-5.0, std=2.0))
    network.eval()
    x = paddle.randn([2, 3, 64, 64])
    features = network.forward_pooled(x).mean([1, 2])  # [2, 512]
    expected = features @ network._conv9.weight * 2 + network._conv9.bias * 2 - 5
    np.testing.assert_allclose(network(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("zero_weights")
def test_xception_has_the_parameters_of_keras():
    network = build_model("xception", init="paddle")
    statistics = sum(int(p.size) for p in network.parameters() if p.stop_gradient)
    assert (count_params(network), count_params(network) + statistics) == (22_855_952, 22_910_480)
    assert sum(isinstance(layer, SeparableBN) for layer in network.sublayers()) == 34


@pytest.mark.parametrize(("name", "smallest"), [("inception_v3", 75), ("squeezenet1_0", 35), ("vgg11", 32)])
def test_too_small_images_are_refused(name, smallest):
    check_input_size(name, smallest, "size")
    with pytest.raises(UserError, match=f"size is {smallest - 1}, expected {smallest} to 4096"):
        check_input_size(name, smallest - 1, "size")


@pytest.mark.parametrize(
    ("text", "size"), [("xception", 299), ("inception_v3:num_classes=10", 299), ("googlenet:num_classes=10", 61)]
)
@pytest.mark.usefixtures("zero_weights")
def test_networks_are_measured_at_the_size_they_are_made_for(text, size):
    assert default_input_size("resnet50") is None and default_input_size("lenet") == 28
    (subject,) = parse_subjects([text])
    assert subject.image_size == size


def test_alpha_0_with_pooling_is_the_plain_network_pooled():
    """The arm that separates pooling from the octave is one argument away, with the same parameters."""
    plain, pooled = build_model("resnet20", num_classes=10), build_model("resnet20", num_classes=10, downsample="pool")
    assert count_params(plain) == count_params(pooled)
    for network, stride in ((plain, 2), (pooled, 1)):
        convs = [layer for layer in network.sublayers() if isinstance(layer, OctaveConv) and layer.stride == 2]
        assert len(convs) == 4 and {conv.conv_h2h._stride[0] for conv in convs} == {stride}
        assert {conv.downsample for conv in convs} == {"stride" if stride == 2 else "pool"}


@pytest.mark.parametrize("name", ["oct_mobilenet", "oct_resnet26", "oct_resnet20"])
@pytest.mark.parametrize("alpha", [0.0, 0.125, 0.75, 1.0])
def test_any_alpha_trains(name, alpha):
    network = build_model(name, num_classes=3, alpha=alpha)
    F.cross_entropy(network(paddle.randn([2, 3, 65, 64])), paddle.to_tensor([0, 1])).backward()
    assert all(p.grad is not None for p in network.parameters() if not p.stop_gradient)


@pytest.mark.parametrize("name", ["oct_mobilenet", "oct_resnet26", "oct_resnet20"])
@pytest.mark.parametrize("exchange", ["h2l", "l2h", "none"])
def test_every_parameter_gets_a_gradient_whatever_the_exchange(name, exchange):
    network = build_model(name, num_classes=3, exchange=exchange)
    F.cross_entropy(network(paddle.randn([2, 3, 64, 64])), paddle.to_tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if not p.stop_gradient)


def test_kaiming_initialisation_counts_groups_and_paddle_s_does_not():
    def depthwise_std(init):
        paddle.seed(0)
        return float(build_model("mobilenet_v1", init=init).features[13][0].conv.conv_h2h.weight.std())

    assert depthwise_std("kaiming") == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert depthwise_std("paddle") == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.05)


def test_logits_are_float32_under_mixed_precision():
    network = build_model("oct_resnet20")
    with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
        assert network(paddle.randn([2, 3, 32, 32])).dtype == paddle.float32


@pytest.mark.usefixtures("zero_weights")
def test_registered_options_are_those_the_factories_take(built):
    """The registry reads signatures from source text; here each option goes through the factory itself."""
    name, _ = built
    given = {key: option.default for key, option in model_options(name).items()}
    given |= {"init": "paddle"} if "init" in given else {}
    assert count_params(build_model(name, **given)) == GOLDEN[name]["params"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("oct_resnt50", {}, "did you mean 'oct_resnet50'"),
        ("oct_resnet20", {"alfa": 0.5}, "did you mean 'alpha'"),
        ("resnet20", {"alpha": 0.5}, "alpha is not an option of resnet20"),
        ("oct_resnet20", {"alpha": 1.5}, "alpha is 1.5, expected a number at least 0 and at most 1"),
        ("resnet20", {"stem": "imgnet"}, "did you mean 'imagenet'"),
        ("resnet20", {"num_classes": 0}, "num_classes is 0"),
        ("mobilenet_v1", {"scale": 0.001}, "leaves no channel"),
        ("resnet20", {"pretrained": True}, "no weights are published for resnet20"),
        ("resnet20", {"pretrained": "nowhere.pdparams"}, "there are no weights at nowhere.pdparams"),
    ],
)
def test_wrong_names_and_options_are_answered_with_the_nearest_right_one(name, options, message):
    with pytest.raises(UserError, match=message):
        build_model(name, **options)


@pytest.mark.parametrize("name", [*OWN, *WRAPPED, "xception"])
def test_every_class_of_network_can_be_traced(name):
    """What graphs, exports and training on a static graph are made from."""
    network = build_model(name)
    network.eval()
    assert trace_unrewritten(network)
    x = images(name, 1, 32, 32)
    with paddle.no_grad():
        expected = network(x).numpy()
        traced = paddle.jit.to_static(network, input_spec=[paddle.static.InputSpec(x.shape)], full_graph=True)
        assert traced(x).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("size", [32, 33])
def test_same_padding_is_tensorflow_s_and_relu6_clips(size):
    """TensorFlow pads by what is missing: with stride 2, 0 before and 1 after even sides, 1 and 1 odd ones."""
    network = build_model("mobilenet_v1", scale=0.25, activation="relu6", padding="same")
    network.eval()
    (conv, _, act), block = network.features[0], network.features[2][0]
    x = 10 * paddle.randn([2, 3, size, size])
    pad = [0, 1, 0, 1] if size % 2 == 0 else [1, 1, 1, 1]
    np.testing.assert_allclose(conv(x).numpy(), F.conv2d(F.pad(x, pad), conv.weight, stride=2).numpy(), atol=1e-4)
    np.testing.assert_array_equal(act(x).numpy(), x.clip(0, 6).numpy())
    x = 10 * paddle.randn([2, 16, size, size])
    depthwise = block.conv.conv_h2h
    expected = F.conv2d(F.pad(x, pad), depthwise.weight, stride=2, groups=16)
    np.testing.assert_allclose(depthwise(x).numpy(), expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(block(x)[0].numpy(), block.bn_h(expected).clip(0, 6).numpy(), atol=1e-4)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("size", [32, 47])
def test_same_padding_fits_octave_networks_of_any_size(downsample, size):
    options = {"scale": 0.25, "downsample": downsample}
    networks = [build_model("oct_mobilenet", padding=padding, **options) for padding in ("same", "symmetric")]
    images = paddle.randn([1, 3, size, size])
    features, plain = (network.forward_features(images) for network in networks)
    for one, other in zip(features, plain, strict=True):
        pairs = zip(*(feature if isinstance(feature, tuple) else (feature,) for feature in (one, other)), strict=True)
        assert all(a.shape == b.shape for a, b in pairs)
