"""Converted weights give the outputs of PyTorch's networks; needs torch and torchvision (requirements-convert.txt)."""

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.convert import convert
from ppcls_lite.weights.load import load_weights

torch = pytest.importorskip("torch")
vision = pytest.importorskip("torchvision.models")


def make(model):
    from tests.weights import torch_networks as ours

    if model in ("resnet50", "densenet121"):
        return getattr(vision, model)(num_classes=10)
    return {"oct_resnet50": ours.OctResNet50, "oct_mobilenet": ours.OctMobileNet, "vovnet39": ours.VoVNet39}[model](10)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("model", ["oct_resnet50", "oct_mobilenet", "vovnet39", "densenet121", "resnet50"])
def test_outputs_equal_those_of_the_network_in_pytorch(model, wrapped, tmp_path):
    torch.manual_seed(0)
    network = make(model)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the average of all batches
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, 0, 2)
    images = torch.randn(24, 3, 64, 64)
    with torch.no_grad():
        network(images[8:])  # real statistics
        expected = network.eval()(images[:4]).numpy()
    state = network.state_dict()
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, tmp_path / "net.pth")
    found = convert(tmp_path / "net.pth", model)
    ours = build_model(model, **found.options)
    load_weights(ours, found.weights, "converted")
    ours.eval()
    outputs = ours(paddle.to_tensor(images[:4].numpy())).numpy()
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()


class Hostile:
    def __reduce__(self):
        return print, ("code has run",)


def test_checkpoints_run_no_code_and_hold_weights_only(tmp_path, capsys):
    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name, message in (
        ("hostile", "not a checkpoint of plain"),
        ("list", "no state_dict"),
        ("text", "not a checkpoint of"),
    ):
        with pytest.raises(UserError, match=message):
            convert(tmp_path / f"{name}.pth", "resnet50")
    assert "code has run" not in capsys.readouterr().out
