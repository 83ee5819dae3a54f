"""Weights: found under every documented name, and loaded completely or not at all."""

import pickle

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import find_weights, load_pretrained, read_weights, write_weights


@pytest.fixture
def saved(tmp_path):
    """A resnet20 saved by paddle as run/last.pdparams, and its weights."""
    paddle.seed(1)
    network = build_model("resnet20", num_classes=10)
    (tmp_path / "run").mkdir()
    paddle.save(network.state_dict(), str(tmp_path / "run" / "last.pdparams"))
    return tmp_path / "run", {name: value.numpy() for name, value in network.state_dict().items()}


def test_files_with_and_without_suffix_and_run_folders_are_found(saved):
    run, _ = saved
    assert (
        find_weights(run / "last") == find_weights(run / "last.pdparams") == find_weights(run) == run / "last.pdparams"
    )
    (run / "best.pdparams").write_bytes((run / "last.pdparams").read_bytes())
    assert find_weights(run) == run / "best.pdparams"
    with pytest.raises(UserError, match="there are no weights at"):
        find_weights(run / "first")
    with pytest.raises(UserError, match="has no best, last or model"):
        find_weights(run.parent)


@pytest.mark.parametrize("path", ["run", "run/last", "run/last.pdparams"])
def test_pretrained_loads_what_paddle_saved(saved, path):
    run, weights = saved
    network = build_model("resnet20", num_classes=10, pretrained=str(run.parent / path))
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[name])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet20",
            {"num_classes": 7},
            r"2 of another shape or type \(fc.weight float32 \[64, 10\] instead of \[64, 7\], fc.bias",
        ),
        ("resnet56", {}, r"\d+ missing \(layer1.3"),
        ("mobilenet_v1", {}, r"missing .*; \d+ unexpected \(conv1.weight"),
    ],
)
def test_weights_of_another_network_are_refused_whole_with_names_and_shapes(saved, name, options, message):
    run, _ = saved
    network = build_model(name, **{"num_classes": 10, **options})
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_pretrained(network, run)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


@pytest.mark.parametrize("content", [[1, 2], {"a": "text"}, {}, {"a": 1.0}])
def test_a_pickle_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="expected"):
        read_weights(path)


def test_an_article_checkpoint_loads_with_bias(tmp_path):
    """Names are the article's: a file made by its code fits the network with ``bias=True``."""
    network = build_model("oct_mobilenet", num_classes=10, bias=True)
    state = {name: np.full(value.shape, i, "float32") for i, (name, value) in enumerate(network.state_dict().items())}
    (tmp_path / "article.pdparams").write_bytes(pickle.dumps(state, protocol=2))
    load_pretrained(network, tmp_path / "article")
    assert float(network.fc.bias[0]) == len(state) - 1


def test_safetensors_are_read_like_paddle_s_own_files(saved, tmp_path):
    run, weights = saved
    write_weights(weights, run / "other.safetensors")
    assert find_weights(run / "other") == run / "other.safetensors"
    write_weights(weights, run / "other.pdparams")
    assert find_weights(run / "other") == run / "other.pdparams"
    for name in ("other.safetensors", "other.pdparams"):
        network = build_model("resnet20", num_classes=10, pretrained=str(run / name))
        for key, value in network.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), weights[key])


def test_half_precision_becomes_the_network_s_and_whole_numbers_are_refused(saved, tmp_path):
    _, weights = saved
    write_weights({name: array.astype("float16") for name, array in weights.items()}, tmp_path / "half.safetensors")
    network = build_model("resnet20", num_classes=10, pretrained=str(tmp_path / "half"))
    np.testing.assert_array_equal(network.fc.weight.numpy(), weights["fc.weight"].astype("float16").astype("float32"))
    write_weights({name: array.astype("int32") for name, array in weights.items()}, tmp_path / "whole.safetensors")
    with pytest.raises(UserError, match=r"of another shape or type \(conv1.weight int32"):
        load_pretrained(network, tmp_path / "whole")


def test_damaged_safetensors_are_refused_in_a_sentence(saved, tmp_path):
    _, weights = saved
    write_weights(weights, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    for damaged in (b"", whole[:20], whole[:-8], b"\xff" * 8 + whole[8:]):
        (tmp_path / "x.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.safetensors is damaged"):
            read_weights(tmp_path / "x")
