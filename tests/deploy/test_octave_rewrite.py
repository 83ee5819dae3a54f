"""Rewrites for 8 bits compute what the network does, in the operators that they promise."""

import collections

import numpy as np
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.arch.base import replace_head
from ppcls_lite.deploy.export import export, noise_images
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.several import Head, Several
from tests.deploy.formats import ONNX
from tests.helpers import slow_except

pytestmark = pytest.mark.skipif(not ONNX, reason="needs Paddle 3 and Paddle2ONNX")

MODELS = {
    "densenet_cifar": {"depth": 22},
    "lenet": {},
    "mobilenet_v1": {"scale": 0.25},
    "oct_mobilenet": {"scale": 0.25},
    "oct_resnet20": {"downsample": "stride"},
    "oct_resnet26": {"num_classes": 10, "scale": 0.25, "alpha": 0.25},
    "resnet26": {"num_classes": 10, "scale": 0.25},
    "vovnet27_slim": {"num_classes": 10},
}
ALWAYS = ["oct_mobilenet", "oct_resnet26", "vovnet27_slim"]


@pytest.fixture
def exported(random_network, tmp_path):
    """``exported(name, image_size, **options)``: an ONNX model."""
    import onnx

    def make(name, image_size=64, **options):
        network, metadata = random_network(name, image_size, **options)
        file = tmp_path / f"{name}_{image_size}.onnx"
        export(network, metadata, "onnx", file)
        return onnx.load(str(file))

    return make


def copy(model):
    return type(model).FromString(model.SerializeToString())


def run(model):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    _, channels, size, _ = images.shape
    return session.run(None, {images.name: noise_images(3, size, channels, seed=7)})


def kinds(model):
    return collections.Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("size", slow_except([64, 47], [64]))
@pytest.mark.parametrize("name", slow_except(MODELS, ALWAYS))
def test_each_rewrite_computes_what_the_network_does(name, size, exported):
    from ppcls_lite.deploy import octave_rewrite as rewrites

    model = exported(name, size, **MODELS[name])
    (expected,) = run(model)
    steps = [
        "merge_sums",
        "pool_by_convolution",
        "scale_by_convolution",
        "separate_heads",
        "upsample_channels_last",
        "stem_by_blocks",
    ]
    for step in steps:
        alone = getattr(rewrites, step)(copy(model))
        assert np.abs(run(alone)[0] - expected).max() < 2e-5 * np.abs(expected).max(), step
    for runtime in (None, "onnxruntime"):
        together = rewrites.rewrite(copy(model), runtime)
        assert np.abs(run(together)[0] - expected).max() < 2e-5 * np.abs(expected).max()


def test_sums_become_one_convolution_and_poolings_and_norms_convolutions(exported):
    from ppcls_lite.deploy import octave_rewrite as rewrites

    octave = exported("oct_mobilenet", scale=0.25)
    before, after = kinds(octave), kinds(rewrites.rewrite(copy(octave)))
    assert after["Add"] < before["Add"] / 2 and after["AveragePool"] == 0 and before["AveragePool"] == 17
    assert after["Conv"] == before["Conv"] + 17 - after["Concat"]
    dense = exported("densenet_cifar", depth=22)
    assert kinds(dense)["BatchNormalization"] > 0
    assert kinds(rewrites.rewrite(dense))["BatchNormalization"] == 0


def test_for_onnxruntime_nothing_is_left_to_resize_and_pixels_are_read_in_blocks(exported):
    from ppcls_lite.deploy import octave_rewrite as rewrites

    model = exported("oct_mobilenet", scale=0.25)
    assert kinds(rewrites.rewrite(copy(model)))["Resize"] == 10
    model = rewrites.rewrite(model, "onnxruntime")
    assert kinds(model)["Resize"] == 0
    weights = {one.name: list(one.dims) for one in model.graph.initializer}
    (stem,) = (node for node in model.graph.node if weights.get((*node.input, "")[1], [0, 0])[1:] == [12, 2, 2])
    assert [one.i for one in stem.attribute if one.name == "group"] == [1]


def test_outputs_of_several_heads_come_from_their_own_layers(tmp_path):
    import onnx

    from ppcls_lite.deploy.octave_rewrite import rewrite

    task = Several({name: Head(Classification((), 4), name) for name in ("b", "a")})
    network = build_model("lenet")
    replace_head(network, task.make_head)
    metadata = Metadata("x", "lenet", 28, 1, (0.0,), (1.0,), task.describe(), "random")
    export(network, metadata, "onnx", tmp_path / "x.onnx")
    model = onnx.load(str(tmp_path / "x.onnx"))
    rewritten = rewrite(copy(model))
    for expected, found in zip(run(model), run(rewritten), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert [one.name for one in rewritten.graph.output] == ["b", "a"]
    assert kinds(model)["Split"] == 1 and not {"Split", "Concat"} & set(kinds(rewritten))


def test_rewriting_twice_changes_nothing_more(exported):
    from ppcls_lite.deploy.octave_rewrite import rewrite

    once = rewrite(exported("oct_resnet20"))
    assert kinds(rewrite(copy(once))) == kinds(once)
