"""Networks with weights and statistics as training leaves them, and what describes them."""

import paddle
import pytest

from ppcls_lite.arch import build_model, model_options
from ppcls_lite.arch.registry import fixed_input_size, smallest_input_size
from ppcls_lite.deploy.export import randomize_batch_norm
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.metadata import Metadata


@pytest.fixture
def random_network():
    """``random_network(name, image_size, **options)``: random weights, real statistics; and its metadata."""

    def make(name, image_size=32, **options):
        paddle.seed(0)
        network = build_model(name, **options)
        known = model_options(name)
        size = fixed_input_size(name) or max(image_size, smallest_input_size(name))
        channels = options.get("in_channels", known["in_channels"].default if "in_channels" in known else 3)
        randomize_batch_norm(network, size, channels)
        classes = options.get("num_classes", known["num_classes"].default)
        zeros, ones = (0.0,) * channels, (1.0,) * channels
        task = Classification((), classes).describe()
        return network, Metadata(name, name, size, channels, zeros, ones, task, "random")

    return make


@pytest.fixture(params=["mobilenet_v1", "oct_mobilenet"])
def tensorflow_like(request, random_network):
    """``tensorflow_like(image_size)``: a network with "same" padding and ReLU6, many of whose values are above 6."""

    def make(image_size):
        options = {"scale": 0.25, "activation": "relu6", "padding": "same", "downsample": "stride"}
        network, metadata = random_network(request.param, image_size, **options)
        for norm in network.sublayers():
            if isinstance(norm, paddle.nn.BatchNorm2D):
                norm.weight.set_value(3 * norm.weight)
                norm._momentum = 0.0
        network.train()
        network(paddle.randn([64, 3, image_size, image_size]))  # measures the statistics again
        network.eval()
        relu, _ = random_network(request.param, image_size, **{**options, "activation": "relu"})
        relu.set_state_dict(network.state_dict())
        images = paddle.randn([1, 3, image_size, image_size])
        assert float((network(images) - relu(images)).abs().max() / network(images).abs().max()) > 0.1
        return network, metadata

    return make
