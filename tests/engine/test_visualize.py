"""Pictures of networks whose weights lie in a file."""

import functools

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_lite.config import load as configs
from ppcls_lite.data import load_dataset
from ppcls_lite.engine.visualize import (
    Trained,
    choose_image,
    connectivity_picture,
    gradcam_picture,
    read_images,
    stages_picture,
)
from ppcls_lite.runs.trained import choose_weights
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError


def trained(folder, arch, heads=None, **data):
    """A network with random weights that lie in ``folder``, as a run leaves them."""
    setup = complete(configs.build({"Arch": arch, "DataLoader": data, "Heads": heads or {}}, arch["name"]))
    paddle.save(build_network(setup).state_dict(), str(folder / "last.pdparams"))
    (folder / "config.yaml").write_text(setup.config.to_yaml())
    return Trained(setup, str(folder / "config.yaml"))


def test_the_input_is_normalised_and_resized_as_in_training(tmp_path, monkeypatch):
    one = trained(tmp_path, {"name": "oct_resnet20"}, image_size=64)
    seen = []
    monkeypatch.setattr(
        "ppcls_lite.engine.visualize.frequency.octave_stages", lambda _, x: seen.append(x.numpy()) or []
    )
    monkeypatch.setattr("ppcls_lite.engine.visualize.frequency.draw_stages", lambda *_: None)
    stages_picture(one, None, np.full((3, 32, 32), 127, np.uint8))
    assert seen[0].shape == (1, 3, 64, 64)
    assert seen[0] == pytest.approx((127 / 255 - 0.3056) / 0.3763, abs=1e-5)  # the digits' constants


def test_grad_cam_explains_the_prediction_or_a_class_by_name(tmp_path, rng):
    one = trained(tmp_path, {"name": "oct_resnet20"})
    images = [(f"{i}.png", rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)) for i in range(2)]
    figure, rows = gradcam_picture(one, images, None)
    assert len(figure.axes) == 2 * 4 and [row["image"] for row in rows] == ["0.png", "1.png"]
    assert all(row["explained"] == row["prediction"] for row in rows)
    _, again = gradcam_picture(one, images, "7")
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]
    assert all(row["explained"].startswith("7 ") and row["explained"].endswith("%") for row in again)
    with pytest.raises(UserError, match="there is no class '77'; did you mean '7'"):
        gradcam_picture(one, images, "77")


def test_grad_cam_of_a_regression_explains_the_number(tmp_path, rng):
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    one = trained(tmp_path, {"name": "resnet20"}, {"value": {"task": "regression"}})
    images = read_images(one.setup, [str(tmp_path / "a.png"), str(tmp_path / "b.png"), one.file])
    assert [name for name, _ in images] == ["a.png", "b.png"] and images[0][1].shape == (3, 32, 32)
    _, rows = gradcam_picture(one, images, None)
    assert all(float(row["explained"]) == float(row["prediction"]) for row in rows)
    with pytest.raises(UserError, match="no class 'cat', because the network predicts a number"):
        gradcam_picture(one, images, "cat")


def test_too_many_or_unreadable_images_are_refused(tmp_path):
    setup = complete(configs.build({"Arch": {"name": "resnet20"}}, "x"))
    (tmp_path / "0.png").write_text("no image")
    with pytest.raises(UserError, match="none of the files is a readable image"):
        read_images(setup, [str(tmp_path)])
    with pytest.raises(UserError, match="--images names 31 files, but a picture has at most 30"):
        read_images(setup, [str(tmp_path / "0.png")] * 31)


def test_seeds_of_one_network_keep_apart(tmp_path):
    runs = []
    for seed in ("seed_0", "seed_1"):
        (tmp_path / seed).mkdir()
        runs.append(trained(tmp_path / seed, {"name": "densenet_cifar", "depth": 16, "growth": 4}))
    _, rows = connectivity_picture(runs)
    assert {row["network"] for row in rows} == {str(tmp_path / "seed_0"), str(tmp_path / "seed_1")}
    assert len(rows) == 2 * 2 * 3


def test_weights_that_are_asked_for_go_before_a_run_s_own(tmp_path):
    one = trained(tmp_path, {"name": "resnet20"})
    assert choose_weights(one.setup.config, one.file, []) == tmp_path / "last.pdparams"
    with pytest.raises(UserError, match="trained weights are needed, but"):
        config = configs.load(one.file, ["Global.pretrained_model = /nowhere"])
        choose_weights(config, one.file, ["Global.pretrained_model = /nowhere"])


def test_a_run_without_weights_has_none_though_it_started_from_some(tmp_path):
    one = trained(tmp_path, {"name": "resnet20"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").write_text("")
    config = configs.load(one.file, [f"Global.pretrained_model={tmp_path}"])
    with pytest.raises(UserError, match=r"run has no best, last or model\.pdparams"):
        choose_weights(config, tmp_path / "run" / "config.yaml", [])


def test_an_index_behind_the_last_image_is_refused():
    load = functools.partial(load_dataset, "digits")
    assert choose_image(None, 359, load).shape == (3, 32, 32)
    with pytest.raises(UserError, match="digits has test images 0 to 359"):
        choose_image(None, 360, load)
