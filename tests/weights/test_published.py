"""ImageNet weights by name, through Paddle's table, downloader and cache, with files made from Paddle's networks."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.utils import download

from ppcls_lite.arch import build_model, list_models
from ppcls_lite.arch.registry import smallest_input_size
from ppcls_lite.config import load as configs
from ppcls_lite.engine.train import train
from ppcls_lite.runs.trained import choose_weights
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest
from ppcls_lite.weights import published
from ppcls_lite.weights.load import find_weights, load_initial
from tests.data.pictures import write_folder
from tests.helpers import slow_except


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder in place of Paddle's cache, without a network and without waiting for it."""
    monkeypatch.setattr(download, "WEIGHTS_HOME", str(tmp_path / "weights"))
    monkeypatch.setitem(download._download_methods, "get", lambda url, path: False)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def publish(cache, monkeypatch):
    """``publish(model)``: Paddle's network with random weights and statistics, as published; and the file."""

    def make(model):
        paddle.seed(0)
        network = getattr(paddle.vision.models, model)()
        for value in network.state_dict().values():
            if value.ndim == 1:  # batch norm of fresh networks looks the same everywhere
                value.set_value(value + paddle.uniform(value.shape, min=0.0, max=0.2))
        network.eval()
        url, _, path = published.locate(model)
        paddle.save(network.state_dict(), str(path))
        table = importlib.import_module(f"paddle.vision.models.{published.MODELS[model]}").model_urls
        (key,) = (key for key, (other, _) in table.items() if other == url)
        monkeypatch.setitem(table, key, (url, digest(path, "md5")))
        return network, path

    return make


# Three of ours and two wrapped ones.
ALWAYS = ("mobilenet_v1", "resnet50", "densenet121", "mobilenet_v2", "googlenet")


@pytest.mark.parametrize("model", slow_except(published.MODELS, ALWAYS))
def test_every_published_model_computes_what_paddle_s_does(model, publish):
    theirs, path = publish(model)
    ours = build_model(model, pretrained=True)
    path.unlink()
    size = 224 if model == "googlenet" else max(64, smallest_input_size(model))  # for its auxiliary classifiers
    ours.eval()
    with paddle.no_grad():
        images = paddle.randn([1, 3, size, size])
        expected = theirs(images)
        expected = (expected[0] if isinstance(expected, list | tuple) else expected).numpy()
        found = ours(images).numpy()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_table_is_paddle_s_and_names_our_models(cache):
    assert set(published.MODELS) <= set(list_models())
    for model in published.MODELS:
        url, md5, path = published.locate(model)
        assert url.startswith("https://paddle-") and len(md5) == 32 and path.parent == cache
    assert not {"alexnet", "resnet20", "vgg11", "oct_resnet50"} & set(published.MODELS)


def test_a_head_of_another_size_is_left_random_and_named(publish, caplog):
    theirs, _ = publish("squeezenet1_1")
    with caplog.at_level("INFO"):
        network = build_model("squeezenet1_1", num_classes=7, pretrained=True)
    assert "_conv9.weight [512, 7], _conv9.bias [7] start fresh" in caplog.text
    np.testing.assert_array_equal(network._conv8._conv._conv.weight.numpy(), theirs._conv8._conv._conv.weight.numpy())


def test_a_configuration_names_them_imagenet(publish, tiny):
    _, path = publish("shufflenet_v2_x0_25")
    config = tiny(**{"Arch": {"name": "shufflenet_v2_x0_25"}, "Global.pretrained_model": "imagenet"})
    assert find_weights("imagenet", "shufflenet_v2_x0_25") == path == choose_weights(config, "x.yaml", [])
    with pytest.raises(UserError, match="there are no weights at imagenet"):
        find_weights("imagenet")


def test_training_starts_from_them_and_warns_of_another_normalization(publish, tmp_path, caplog):
    _, path = publish("shufflenet_v2_x0_25")
    raw = {
        "Arch": {"name": "shufflenet_v2_x0_25"},
        "Global": {"device": "cpu", "epochs": 1, "pretrained_model": "imagenet", "use_visualdl": False},
        "DataLoader": {"dataset": "image_folder", "root": str(write_folder(tmp_path / "photos")), "image_size": 32},
        "Optimizer": {"name": "Momentum", "lr": {"learning_rate": 0.01}},
    }
    raw["DataLoader"] |= {"num_workers": 0, "batch_size": 4}
    for name, mean in (("right", None), ("wrong", [0.5, 0.5, 0.5])):
        raw["Global"]["output_dir"] = str(tmp_path / name)
        raw["DataLoader"] |= {"mean": mean, "std": mean}
        caplog.clear()
        with caplog.at_level("INFO"):
            train(configs.build(raw, name))
        assert f"weights from {path}" in caplog.text and "_fc.weight [512, 2], _fc.bias [2] start fresh" in caplog.text
        warning = f"{path} was trained with mean [0.485, 0.456, 0.406]"
        assert (warning in caplog.text) == (name == "wrong")


def test_a_file_of_paddle_vision_loads_by_its_path_too(tmp_path):
    theirs = paddle.vision.models.mobilenet_v1(scale=0.25, num_classes=3)
    paddle.save(theirs.state_dict(), str(tmp_path / "mine.pdparams"))
    network = build_model("mobilenet_v1", scale=0.25, num_classes=3, pretrained=str(tmp_path / "mine"))
    np.testing.assert_array_equal(
        network.features[13][1].conv.conv_h2h.weight.numpy(), theirs.conv6._pointwise_conv[0].weight.numpy()
    )
    assert load_initial(build_model("mobilenet_v1", scale=0.25, num_classes=5), tmp_path / "mine") == [
        "fc.weight [256, 5]",
        "fc.bias [5]",
    ]


def test_what_is_not_in_the_cache_is_downloaded_once(publish, tmp_path, monkeypatch, caplog):
    _, path = publish("squeezenet1_1")
    shutil.move(path, tmp_path / "server")
    requests = []

    def get(url, target):
        requests.append(url)
        shutil.copy(tmp_path / "server", target)
        return target

    monkeypatch.setitem(download._download_methods, "get", get)
    with caplog.at_level("INFO"):
        assert published.fetch("squeezenet1_1") == published.fetch("squeezenet1_1") == path
    assert len(requests) == 1 and f"downloading {requests[0]} to {path.parent}" in caplog.text


def test_without_a_network_the_message_names_the_file_and_its_place(cache):
    message = rf"weights of resnet50 could not be downloaded; put the file resnet50\.pdparams from https.* into {cache}"
    for call in (
        lambda: build_model("resnet50", pretrained=True),
        lambda: find_weights("imagenet", "resnet50"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_file_with_another_md5_sum_is_refused_or_downloaded_again(publish, tmp_path, monkeypatch):
    _, path = publish("squeezenet1_1")
    shutil.copy(path, tmp_path / "server")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"SqueezeNet1_1.*is not what Paddle publishes \(MD5 \w{32} instead of \w{32}\)"
    ):
        build_model("squeezenet1_1", pretrained=True)
    monkeypatch.setitem(download._download_methods, "get", lambda url, target: shutil.copy(tmp_path / "server", target))
    assert published.fetch("squeezenet1_1") == path and path.read_bytes() == Path(tmp_path / "server").read_bytes()


def test_models_without_published_weights_are_refused(cache):
    with pytest.raises(UserError, match=r"no weights are published for resnet20; .* did you mean 'resnet"):
        build_model("resnet20", pretrained=True)
    with pytest.raises(UserError, match="no weights are published for alexnet"):
        find_weights("imagenet", "alexnet")
