"""AlexNet and LeNet."""

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.config import load as configs
from ppcls_lite.measure.complexity import count_macs, count_params
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError


@pytest.mark.usefixtures("zero_weights")
def test_alexnet_has_the_published_params_and_multiply_adds():
    network = build_model("alexnet")
    assert (count_params(network), count_macs(network, 224, 1)) == (46_764_746, 938_146_176)


def test_alexnet_s_weights_start_xavier_uniform_and_its_biases_at_0():
    network = build_model("alexnet")
    weight = network.classifier[3].weight.numpy()  # 4096 x 4096
    assert abs(weight).max() <= (6 / 8192) ** 0.5 + 1e-6 and weight.std() == pytest.approx((2 / 8192) ** 0.5, rel=0.01)
    assert not any(p.numpy().any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_lenet_equals_paddle_vision_s(rng):
    ours, theirs = build_model("lenet"), paddle.vision.models.LeNet()
    theirs.set_state_dict(ours.state_dict())
    x = paddle.to_tensor(rng.standard_normal((2, 1, 28, 28)).astype("float32"))
    np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Arch": {"name": "alexnet"}, "DataLoader": {"dataset": "fashion_mnist"}}, "28, but alexnet takes 224 only"),
        ({"Arch": {"name": "lenet"}, "DataLoader": {"image_size": 32}}, "image_size is 32, but lenet takes 28 only"),
        (
            {"Arch": {"name": "densenet121"}, "DataLoader": {"dataset": "fashion_mnist", "image_size": 32}},
            "takes 3 channels",
        ),
        ({"Arch": {"name": "resnet20", "in_channels": 1}}, "Arch.in_channels is 1, but the images of digits have 3"),
        (
            {"Arch": {"name": "resnet20"}, "DataLoader": {"dataset": "fashion_mnist"}},
            "image_size is 28, expected 32 to 4096",
        ),
    ],
)
def test_images_that_a_network_does_not_take_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        complete(configs.build(settings, "x"))


def test_channels_follow_the_data_set():
    data = {"dataset": "fashion_mnist", "image_size": 32}
    setup = complete(configs.build({"Arch": {"name": "resnet20"}, "DataLoader": data}, "x"))
    assert setup.config.Arch["in_channels"] == setup.channels == 1
