"""Fine-tuning: what is loaded, what is said, and what training changes and leaves."""

import json
import shutil

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.arch.base import backbone_parameters, freeze_backbone
from ppcls_lite.config.schema import Optimizer
from ppcls_lite.engine.evaluate import score
from ppcls_lite.engine.optim import build_optimizer
from ppcls_lite.engine.plan import make_plan
from ppcls_lite.engine.train import train
from ppcls_lite.measure.complexity import count_params
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import load_initial, read_weights, write_weights
from tests.helpers import interrupt_at, rows

TINY = {"scale": 0.125}
HEAD = ("fc.weight", "fc.bias")
MOBILENET = {"Arch.name": "oct_mobilenet"}  # has activation and padding among its options


@pytest.fixture
def other_head(finished, tmp_path):
    """The finished run's weights with a head of 7 classes, outside of its folder."""
    weights = dict(read_weights(finished[0]))
    weights["fc.weight"], weights["fc.bias"] = weights["fc.weight"][:, :7], weights["fc.bias"][:7]
    write_weights(weights, tmp_path / "seven.pdparams")
    return tmp_path / "seven.pdparams"


def test_all_but_a_head_of_another_size_is_loaded_and_training_names_it(tiny, tmp_path, other_head, caplog):
    nothing = {"Optimizer.lr": {"learning_rate": 1e-30}, "Global.pretrained_model": str(other_head), "Global.epochs": 1}
    with caplog.at_level("INFO"):
        train(tiny(**nothing))
    sentence = "fc.weight [8, 10], fc.bias [10] start fresh, since the head of these weights has another size"
    assert sentence in caplog.text and sentence in (tmp_path / "run" / "train.log").read_text()
    before, after = read_weights(other_head), read_weights(tmp_path / "run" / "last")
    trained = [name for name in before if not name.endswith(("_mean", "_variance")) and name not in HEAD]
    for name in trained:
        np.testing.assert_array_equal(after[name], before[name])
    assert len(trained) > 50 and after["fc.weight"].shape == (8, 10)


def test_a_head_of_the_same_size_is_loaded(finished):
    network = build_model("oct_resnet20", num_classes=10, **TINY)
    assert load_initial(network, finished[0]) == []
    np.testing.assert_array_equal(network.fc.weight.numpy(), read_weights(finished[0])["fc.weight"])


def test_a_regression_starts_from_the_weights_of_a_classification(tiny, tmp_path, finished, caplog):
    heads = {"value": {"task": "regression", "column": "value"}}
    with caplog.at_level("INFO"):
        train(tiny(Heads=heads, **{"Global.pretrained_model": str(finished[0]), "Global.epochs": 2}))
    assert "fc.weight [8, 1], fc.bias [1], fc.mean [1], fc.std [1] start fresh" in caplog.text
    assert read_weights(tmp_path / "run" / "last")["fc.mean"][0] == pytest.approx(4.5, abs=0.5)


@pytest.mark.parametrize("change", ["width of the head", "no head", "another layer", "one more"])
def test_anything_else_that_does_not_fit_is_refused(other_head, change):
    weights = dict(read_weights(other_head))
    if change == "width of the head":
        weights["fc.weight"] = weights["fc.weight"][:-1]
    elif change == "no head":
        weights = {name: value for name, value in weights.items() if name not in HEAD}
    elif change == "another layer":
        weights["conv1.weight"] = weights["conv1.weight"][:1]
    else:
        weights["fc2.weight"] = weights["fc.weight"]
    write_weights(weights, other_head)
    network = build_model("oct_resnet20", num_classes=10, **TINY)
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match="does not fit the network"):
        load_initial(network, other_head)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_scoring_refuses_a_head_of_another_size(finished, other_head):
    with pytest.raises(UserError, match=r"2 of another shape or type \(fc.weight"):
        score(load_setup(finished[0] / "config.yaml"), other_head)


def test_another_mean_than_that_of_the_weights_is_warned_about(tiny, tmp_path, finished, caplog):
    """The folder of the run tells it, also for its checkpoints; weights elsewhere tell nothing."""
    folder = shutil.copytree(finished[0], tmp_path / "source")
    other = {"DataLoader.mean": [0.25] * 3, "DataLoader.std": [0.5] * 3}
    known = json.loads((folder / "metadata.json").read_text())
    message = f"was trained with mean {np.round(known['mean'], 4).tolist()}"
    epoch = next((folder / "checkpoints").iterdir())
    shutil.copy(folder / "last.pdparams", tmp_path / "alone.pdparams")
    for weights, settings, warned in [
        (folder, {}, False),
        (folder, other, True),
        (epoch, other, True),
        (tmp_path / "alone.pdparams", other, False),
    ]:
        caplog.clear()
        make_plan(tiny("plan", **settings, **{"Global.pretrained_model": str(weights)}))
        assert (message in caplog.text) == warned
        assert ("but this run has mean [0.25, 0.25, 0.25] and std [0.5, 0.5, 0.5]" in caplog.text) == warned
    (folder / "metadata.json").write_text("{")
    make_plan(tiny("plan", **{"Global.pretrained_model": str(folder)}))
    assert "damaged" in caplog.text and "is unknown" in caplog.text


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Momentum"])
def test_the_factor_multiplies_the_learning_rate_of_all_but_the_head(name):
    """What a step with the factor changes is what a step at the smaller rate changes; the head's step is whole."""
    steps = {}
    for key, rate, factor in (("whole", 0.1, 1.0), ("small", 0.01, 1.0), ("mixed", 0.1, 0.1)):
        paddle.seed(0)
        network = build_model("resnet20", num_classes=3, **TINY)
        optimizer = build_optimizer(Optimizer(name=name, backbone_lr_factor=factor), rate, network)
        before = {k: v.numpy().copy() for k, v in network.named_parameters() if not v.stop_gradient}
        paddle.seed(1)
        loss = network(paddle.randn([4, 3, 32, 32])).square().sum()
        loss.backward()
        optimizer.minimize(loss)  # what Model.fit calls
        steps[key] = {k: v.numpy() - before[k] for k, v in network.named_parameters() if k in before}
    for k, step in steps["mixed"].items():
        np.testing.assert_allclose(step, steps["whole" if k in HEAD else "small"][k], rtol=1e-5, atol=1e-6)
        assert np.abs(step).max() > 0


@pytest.mark.parametrize("settings", [{}, {"Heads": {"value": {"task": "regression", "column": "value"}}}])
def test_a_frozen_backbone_keeps_its_bytes_and_the_head_learns(tiny, tmp_path, finished, settings):
    """Over several epochs, with evaluation in between; batch norms' statistics are among the bytes."""
    start = {"Global.pretrained_model": str(finished[0]), "Optimizer.backbone_lr_factor": 0}
    # Adam, since the size of the features depends on the last digits of the first training.
    adam = {"Optimizer.name": "Adam", "Optimizer.lr": {"learning_rate": 3e-4}, "DataLoader.crop_padding": 0}
    result = train(tiny(**start, **adam, **settings))
    before, after = read_weights(finished[0]), read_weights(tmp_path / "run" / "last")
    for name in set(before) - set(HEAD):
        assert after[name].tobytes() == before[name].tobytes(), name
    shape = after["fc.weight"].shape
    assert shape != before["fc.weight"].shape or np.abs(after["fc.weight"] - before["fc.weight"]).max() > 1e-3
    losses = [float(row["train_loss"]) for row in rows(tmp_path / "run")]
    assert losses[-1] < losses[0]
    assert result["params"] == (finished[1]["params"] if shape[1] == 10 else finished[1]["params"] - 9 * 9)


def test_frozen_batch_norm_normalises_with_its_statistics_in_training():
    network = build_model("resnet20", num_classes=3, **TINY)
    params = count_params(network)
    freeze_backbone(network)
    images = paddle.randn([4, 3, 32, 32])
    network.eval()
    expected = network(images).numpy()
    network.train()
    np.testing.assert_allclose(network(images).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert all(p.stop_gradient for p in backbone_parameters(network)) and not network.fc.weight.stop_gradient
    assert count_params(network) == params


@pytest.mark.parametrize("optimizer", ["Momentum", "AdamW"])
@pytest.mark.parametrize("factor", [0, 0.1])
def test_a_resumed_fine_tuning_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch, other_head, factor, optimizer):
    tuned = {
        "Global.pretrained_model": str(other_head),
        "Optimizer.backbone_lr_factor": factor,
        "Optimizer.name": optimizer,
    }
    train(tiny("whole", **tuned))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=2)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("broken", **tuned))
    train(tiny("broken", **tuned, **{"Global.resume": "auto"}))
    for name in ("last.pdparams", "checkpoints/epoch_0003/model.pdopt"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_freezing_random_weights_is_warned_about(tiny, caplog):
    make_plan(tiny(**{"Optimizer.backbone_lr_factor": 0}))
    assert "freezes a backbone of random weights; set Global.pretrained_model" in caplog.text


def test_new_settings_at_their_defaults_do_not_change_the_fingerprint(tiny):
    same = {"Optimizer.backbone_lr_factor": 1.0, "Arch.activation": "relu", "Arch.padding": "symmetric"}
    assert tiny(**MOBILENET, **same).sha256() == tiny(**MOBILENET).sha256()
    for other in ({"Optimizer.backbone_lr_factor": 0.1}, {"Arch.padding": "same"}, {"Arch.activation": "relu6"}):
        assert tiny(**MOBILENET, **other).sha256() != tiny(**MOBILENET).sha256()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Optimizer.backbone_lr_factor": -1}, "Optimizer.backbone_lr_factor is -1, expected a number at least 0"),
        ({"Arch.activation": "relu7"}, "Arch.activation is 'relu7', expected one of 'relu', 'relu6'"),
        ({"Arch.padding": 1}, "Arch.padding is 1, expected one of 'symmetric', 'same'"),
    ],
)
def test_bad_values_are_refused(tiny, settings, message):
    with pytest.raises(UserError, match=message):
        tiny(**MOBILENET, **settings)
