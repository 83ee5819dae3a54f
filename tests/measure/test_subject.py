"""How networks are named for measuring."""

import pickle

import numpy as np
import pytest

from ppcls_lite.measure.complexity import count_macs
from ppcls_lite.measure.steps import inference, training_step
from ppcls_lite.measure.subject import Subject, parse_subjects
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.errors import UserError


def test_models_options_and_configurations_may_be_mixed():
    texts = ["vovnet39", "vovnet39:stem=paper,bottleneck=true", "configs/cifar/densenet40.yaml"]
    plain, narrow, configured = parse_subjects(texts)
    assert plain == Subject("vovnet39", "vovnet39", 224)
    assert narrow.options == {"stem": "paper", "bottleneck": True} and narrow.name == texts[1]
    assert (configured.name, configured.model, configured.image_size) == ("cifar_densenet40", "densenet40", 32)
    assert configured.options["num_classes"] == 10


@pytest.mark.parametrize(
    ("text", "size", "channels"),
    [
        ("resnet50", 224, 3),
        ("resnet50:num_classes=10", 32, 3),
        ("resnet20", 32, 3),
        ("alexnet", 224, 1),
        ("lenet", 28, 1),
        ("resnet20:in_channels=1", 32, 1),
        ("configs/densenet121.yaml", 224, 3),
        ("configs/alexnet_fashion_mnist.yaml", 224, 1),
    ],
)
def test_images_are_those_that_the_network_is_made_for(text, size, channels):
    (subject,) = parse_subjects([text])
    assert (subject.image_size, subject.channels) == (size, channels)
    if size < 224:
        assert count_macs(subject.build(), size, channels) > 0


def test_networks_of_one_name_keep_apart():
    texts = ["resnet50", "configs/resnet50.yaml"]
    assert [subject.name for subject in parse_subjects(texts)] == texts
    assert [subject.name for subject in parse_subjects(texts[::-1])] == texts[::-1]


def test_a_given_side_goes_before_the_default():
    assert [s.image_size for s in parse_subjects(["resnet50", "configs/cifar/resnet20.yaml"], 64)] == [64, 64]


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["vovnet93"], None, "there is no model 'vovnet93'; did you mean 'vovnet39'?"),
        (["resnet50:stm=cifar"], None, "'resnet50:stm=cifar': stm is not an option of resnet50; did you mean 'stem'?"),
        (["resnet50:stem=cifr"], None, "expected one of 'imagenet', 'cifar'; did you mean 'cifar'?"),
        (["resnet50:stem=cifar,stem=imagenet"], None, "stem is given twice"),
        (["resnet50:cifar"], None, "expected MODEL:OPTION=VALUE"),
        (["resnet50:stem=["], None, "'[' is not a valid value"),
        (["resnet50", "resnet50"], None, "'resnet50' is given twice"),
        (["configs/nowhere.yaml"], None, "configs/nowhere.yaml: the config cannot be read"),
        (["alexnet"], 64, "--image-size is 64, but alexnet takes 224 only"),
        (["resnet50"], 31, "--image-size is 31, expected 32 to 4096"),
        (["lenet", "resnet20"], 28, "--image-size is 28, expected 32 to 4096"),
    ],
)
def test_mistakes_are_named(texts, size, message):
    with pytest.raises(UserError) as error:
        parse_subjects(texts, size)
    assert message in str(error.value)


CASES = {
    "sum_numbers": [(2,)],
    "sum_both": [(3, 32, 32), (2,)],
    "digit_colours": [(3, 32, 32)],
    "digit_sets": [(3, 48, 48)],
}


@pytest.mark.parametrize("name", CASES)
def test_configurations_are_measured_as_they_are_trained(name):
    """With their heads, their table and the loss of their task."""
    file = f"configs/tasks/{name}.yaml"
    (subject,) = parse_subjects([file])
    assert subject.input_shapes == CASES[name]
    network, trained = subject.build(), build_network(load_setup(file), prepares=False)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (network, trained)]
    assert shapes[0] == shapes[1]
    inference(network, subject, 2)()
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    training_step(network, subject, 2)()
    moved = [name for name, value in network.state_dict().items() if not np.array_equal(value.numpy(), before[name])]
    assert moved and all(np.isfinite(value.numpy()).all() for value in network.state_dict().values())
    assert (
        pickle.loads(pickle.dumps(subject)).input_shapes == subject.input_shapes
    )  # for the process that measures memory


def test_a_network_of_a_table_has_no_image_size():
    alone, configured, other = parse_subjects(["mlp:in_features=5", "configs/tasks/sum_numbers.yaml", "resnet20"], 64)
    assert [one.image_size for one in (alone, configured, other)] == [0, 0, 64]
    assert alone.input_shapes == [(5,)] and count_macs(alone.build(), 0, 0) == 5 * 8 + 8 * 4 + 4 * 1000
