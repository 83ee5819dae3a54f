"""The deploy form computes what the network does, in fewer layers."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_lite.arch import build_model
from ppcls_lite.arch.octave import ConvBN
from ppcls_lite.arch.registry import MODELS as ALL_MODELS
from ppcls_lite.arch.registry import image_models
from ppcls_lite.deploy.rewrite import NORMS, FoldedConvBN, deploy_form


def count(network, kinds):
    return sum(isinstance(layer, kinds) for layer in network.sublayers())


def difference(network, other, images):
    expected = network(images)
    return float((other(images) - expected).abs().max() / expected.abs().max())


# Networks that differ in more than depth and width.
MODELS = {
    "alexnet": {},
    "densenet121": {"num_classes": 10},
    "densenet_cifar": {"depth": 22},
    "lenet": {},
    "mobilenet_v1": {"scale": 0.5},
    "oct_mobilenet": {"scale": 0.5, "bias": True},
    "oct_resnet26": {"num_classes": 10},
    "oct_resnet20": {"exchange": "h2l", "downsample": "stride"},
    "osa40_5x43": {},
    "resnet26": {"num_classes": 10, "bias": True},
    "squeezenet1_1": {"num_classes": 10},
    "mobilenet_v3_small": {"num_classes": 10},
    "vovnet27_slim": {"bottleneck": True},
    "xception": {"num_classes": 10},
}


def test_every_file_of_networks_is_among_those_tested():
    tested, known = ({ALL_MODELS.entry(name).module for name in names} for names in (MODELS, image_models()))
    assert tested == known


@pytest.mark.parametrize("name", MODELS)
def test_deploy_form_computes_what_the_network_does(name, random_network):
    network, metadata = random_network(name, 33 if name.startswith(("oct", "res")) else 32, **MODELS[name])
    network.to(dtype="float64")  # but for the logits
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    images = paddle.randn([2, metadata.channels, metadata.image_size, metadata.image_size], "float64")
    deploy = deploy_form(network, images[:1])
    assert difference(network, deploy, images) < 2e-7
    assert count(deploy, nn.Dropout) == 0 and not deploy.training
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


@pytest.mark.parametrize("size", [32, 47])
def test_deploy_form_keeps_relu6_and_same_padding(size, tensorflow_like):
    network, _ = tensorflow_like(size)
    network.to(dtype="float64")
    images = paddle.randn([2, 3, size, size], "float64")
    deploy = deploy_form(network, images[:1])
    assert count(deploy, NORMS) == 0 and difference(network, deploy, images) < 2e-7


@pytest.mark.parametrize(
    ("name", "options", "left"),
    [
        ("oct_resnet20", {}, 0),
        ("oct_mobilenet", {"scale": 0.25}, 0),
        ("vovnet27_slim", {}, 0),
        ("densenet121", {}, 62),  # those that follow a concatenation or a pooling
        ("densenet40", {}, 39),  # every convolution's output is concatenated, too
    ],
)
def test_no_batch_norm_is_left_behind_a_convolution(name, options, left, random_network):
    network, metadata = random_network(name, **options)
    deploy = deploy_form(network, paddle.randn([1, 3, metadata.image_size, metadata.image_size]))
    assert count(deploy, NORMS) == left


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("exchange", ["both", "h2l", "l2h", "none"])
def test_folded_octave_blocks_are_exact_in_float64(alpha, exchange):
    paddle.set_default_dtype("float64")
    try:
        paddle.seed(0)
        network = build_model("oct_resnet20", alpha=alpha, exchange=exchange)
        images = paddle.randn([2, 3, 37, 33])
        network.train()
        network(images)
        network.eval()
        deploy = deploy_form(network, images)
        assert count(deploy, FoldedConvBN) == count(network, ConvBN)
        assert difference(network, deploy, images) < 2e-7  # that of the logits, which are float32
    finally:
        paddle.set_default_dtype("float32")


class Reread(nn.Layer):
    """A batch norm behind a convolution whose output is read once more: it must not be folded."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y


def test_a_convolution_whose_output_is_read_twice_keeps_its_batch_norm():
    network = Reread()
    network.bn._mean.set_value(paddle.full([4], 0.5))
    network.eval()
    images = paddle.randn([1, 3, 8, 8])
    deploy = deploy_form(network, images)
    assert count(deploy, NORMS) == 1 and difference(network, deploy, images) == 0
