"""How networks are named for measuring."""

import pytest

from ppcls_lite.measure.complexity import count_macs
from ppcls_lite.measure.subject import Subject, parse_subjects
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
    ],
)
def test_mistakes_are_named(texts, size, message):
    with pytest.raises(UserError) as error:
        parse_subjects(texts, size)
    assert message in str(error.value)
