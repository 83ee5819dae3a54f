"""Other projects' weights: every name in its place, or nothing."""

import sys

import numpy as np
import paddle
import pytest
import safetensors.numpy

from ppcls_lite.arch import build_model
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights import convert as converting
from ppcls_lite.weights.convert import SOURCES, convert
from ppcls_lite.weights.load import load_pretrained, load_weights
from tests.tools.helpers import call_tool


def foreign_name(name, model):
    """Our name of a parameter as the other project has it; the mapping's other direction, written for itself."""
    name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
    parts = name.split(".")
    if model.startswith("resnet") and parts[0].startswith("layer"):
        if parts[2] == "downsample":
            return ".".join([*parts[:3], "0" if "conv" in parts[4:] else "1", parts[-1]])
        return ".".join([*parts[:2], parts[2] if "conv_h2h" in parts else parts[2].replace("conv", "bn"), parts[-1]])
    if model.startswith("vovnet"):
        kind = "conv" if "conv" in parts else "norm"
        if parts[0] == "fc":
            return f"classifier.{parts[1]}"
        if parts[0] == "stem":
            return f"stem.stem_{int(parts[1]) + 1}/{kind}.{parts[-1]}"
        module = f"OSA{int(parts[1]) + 2}_{int(parts[2]) + 1}"
        start = f"stage{int(parts[1]) + 2}.{module}"
        if parts[3] == "concat":
            return f"{start}.concat.{module}_concat/{kind}.{parts[-1]}"
        return f"{start}.layers.{parts[5]}.{module}_{parts[5]}/{kind}.{parts[-1]}"
    if model.startswith("densenet"):
        kind = "conv" if "_conv" in parts else "norm"
        if parts[0] in ("out", "batch_norm", "conv1_func"):
            start = {"out": "classifier", "batch_norm": "features.norm5", "conv1_func": f"features.{kind}0"}[parts[0]]
            return f"{start}.{parts[-1]}"
        if parts[0].startswith("tr"):
            return f"features.transition{int(parts[0][len('tr_conv')]) - 1}.{kind}.{parts[-1]}"
        block, layer = parts[1].removeprefix("conv").split("_")
        return f"features.denseblock{int(block) - 1}.denselayer{layer}.{kind}{parts[2][-1]}.{parts[-1]}"
    return name


@pytest.fixture
def checkpoint(tmp_path):
    """``checkpoint(model)``: a network of three classes, and its weights as the other project would save them."""

    def make(model, prefix="", **options):
        paddle.seed(1)
        network = build_model(model, num_classes=3, **options)
        own = {name: value.numpy() for name, value in network.state_dict().items()}
        foreign = {}
        for name, array in own.items():
            foreign[prefix + foreign_name(name, model)] = np.ascontiguousarray(array.T if array.ndim == 2 else array)
        foreign[f"{prefix}some.bn.num_batches_tracked"] = np.array(7)
        safetensors.numpy.save_file(foreign, tmp_path / "foreign.safetensors")
        return own, foreign, tmp_path / "foreign.safetensors"

    return make


MODELS = ["oct_mobilenet", "oct_resnet50", "vovnet27_slim", "vovnet39", "resnet50", "densenet121", "densenet161"]


@pytest.mark.parametrize("model", MODELS)
def test_every_name_of_a_checkpoint_finds_its_place(model, checkpoint):
    own, _, path = checkpoint(model, prefix="module." if model == "resnet50" else "")
    found = convert(path, model)
    assert found.options == {"num_classes": 3} and set(found.weights) == set(own)
    for name, array in own.items():
        np.testing.assert_array_equal(found.weights[name], array)


def test_the_models_of_the_issue_s_sources_are_all_there():
    models = {model for source in SOURCES.values() for model in source.models}
    assert models >= {
        "oct_resnet101",
        "oct_resnet152",
        "vovnet57",
        "resnet101",
        "resnet152",
        "densenet169",
        "densenet201",
    }


def test_names_of_torchvision_s_first_densenet_checkpoints_are_known(checkpoint):
    own, foreign, path = checkpoint("densenet121")
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): array
        for name, array in foreign.items()
    }
    assert set(old) != set(foreign)
    safetensors.numpy.save_file(old, path)
    assert set(convert(path, "densenet121").weights) == set(own)


@pytest.mark.parametrize("model", ["resnet20", "resnet56"])
def test_shortcuts_without_parameters_become_exact_projections(model, tmp_path):
    """pytorch_resnet_cifar10 (option A): every second pixel, and zeros as channels, half before and half after."""
    paddle.seed(1)
    network = build_model(model, num_classes=3)
    own = {name: value.numpy() for name, value in network.state_dict().items()}
    foreign = {
        f"module.{foreign_name(name, model)}".replace("fc.", "linear."): np.ascontiguousarray(
            array.T if array.ndim == 2 else array
        )
        for name, array in own.items()
        if "downsample" not in name
    }
    safetensors.numpy.save_file(foreign, tmp_path / "x.safetensors")
    found = convert(tmp_path / "x.safetensors", model)
    assert found.options == {"num_classes": 3} and found.source == "pytorch_resnet_cifar10"
    assert set(found.weights) == set(own)
    for name in own:
        if "downsample" not in name:
            np.testing.assert_array_equal(found.weights[name], own[name])
    load_weights(network, found.weights, "x")
    network.eval()
    for stage, channels in ((network.layer2, 16), (network.layer3, 32)):
        x = paddle.randn([2, channels, 8, 8])
        shortcut, _ = stage[0].downsample((x, None))
        expected = np.pad(x.numpy()[:, :, ::2, ::2], ((0, 0), (channels // 2, channels // 2), (0, 0), (0, 0)))
        np.testing.assert_allclose(shortcut.numpy(), expected, rtol=3e-7)


def test_only_tflite_files_may_be_several(tmp_path):
    with pytest.raises(UserError, match=r"are several files, expected one, or several \.tflite files"):
        convert([tmp_path / "a.tflite", tmp_path / "b.pth"], "mobilenet_v1")


def test_the_article_s_checkpoints_keep_their_biases(tmp_path):
    network = build_model("oct_mobilenet", num_classes=10, bias=True)
    paddle.save(network.state_dict(), str(tmp_path / "article.pdparams"))
    found = convert(tmp_path / "article.pdparams", "oct_mobilenet")
    assert found.options == {"num_classes": 10, "bias": True} and found.source == "article"
    np.testing.assert_array_equal(found.weights["fc.weight"], network.fc.weight.numpy())


def test_what_does_not_fit_is_refused_with_its_names(checkpoint, tmp_path):
    _, foreign, path = checkpoint("vovnet27_slim")

    def refused(change, message, model="vovnet27_slim"):
        weights = dict(foreign)
        change(weights)
        safetensors.numpy.save_file(weights, path)
        with pytest.raises(UserError, match=message):
            convert(path, model)

    refused(lambda w: w.pop("stem.stem_1/conv.weight"), r"1 missing \(stem\.0\.conv\.weight\)")
    refused(lambda w: w.update(head=np.ones(1, "f")), r"1 unexpected \(head\)")
    refused(lambda w: w.update({"stem.stem_1/norm.bias": np.ones(5, "f")}), r"stem\.0\.bn\.bias float32 \[5\] instead")
    refused(lambda w: w.update({"stem.0.bn.bias": np.ones(64, "f")}), r"has stem\.0\.bn\.bias twice")
    refused(lambda w: w.pop("classifier.bias"), "has no classifier")
    refused(lambda w: None, r"\d+ missing", model="vovnet39")
    refused(lambda w: None, "PyTorch checkpoints of lenet are not supported", model="lenet")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"damaged or has an unsupported type"):
        convert(path, "vovnet27_slim")
    with pytest.raises(UserError, match="there is no file"):
        convert(tmp_path / "nothing.pth", "vovnet27_slim")


def test_pytorch_s_own_files_need_torch(tmp_path, monkeypatch):
    (tmp_path / "x.pth").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"needs torch, which cannot be imported; pip install -r requirements"):
        converting.convert(tmp_path / "x.pth", "resnet50")


@pytest.mark.parametrize("suffix", [".safetensors", ".pdparams"])
def test_the_tool_writes_what_networks_load(suffix, checkpoint, tmp_path):
    own, _, path = checkpoint("vovnet27_slim")
    output = tmp_path / "new" / f"weights{suffix}"
    command = ["tools/convert_weights.py", path, "--model", "vovnet27_slim", "--output", output]
    done = call_tool(*command)
    assert done.returncode == 0, done.stderr
    assert "Arch: {name: vovnet27_slim, num_classes: 3}" in done.stdout and f"pretrained_model={output}" in done.stdout
    network = build_model("vovnet27_slim", num_classes=3, pretrained=str(output.with_suffix("")))
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), own[name])
    assert load_pretrained(network, output) == output
    again = call_tool(*command)
    assert again.returncode == 2 and "exists; choose another path" in again.stderr
