"""Pictures of networks whose weights lie in a file."""

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_lite.config import load as configs
from ppcls_lite.data import split_dataset
from ppcls_lite.engine.visualize import (
    Trained,
    choose_sample,
    connectivity_picture,
    filters_picture,
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
    setup = complete(configs.build({"Arch": {"name": "resnet20"}}, "x"))
    assert choose_sample(setup, 359)[0].shape == (3, 32, 32)
    with pytest.raises(UserError, match="digits has test images 0 to 359"):
        choose_sample(setup, 360)


@pytest.fixture(scope="module")
def montage(tmp_path_factory):
    """The settings of a table with two images, a number and a category in a row, whose numbers count from 0."""
    root = tmp_path_factory.mktemp("montage")
    rng = np.random.default_rng(0)
    lines = ["left,right,area,zip,price,tags"]
    for i in range(20):
        for side in ("left", "right"):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / f"{side}{i}.png")
        lines.append(f"left{i}.png,right{i}.png,{i},{'ab'[i % 2]},{i + 1},{'x|y' if i % 3 else 'y'}")
    (root / "rows.csv").write_text("\n".join(lines) + "\n")
    table = {"numbers": ["area"], "categories": ["zip"]}
    data = {"dataset": "table", "root": str(root), "table": "rows.csv", "test_fraction": 0.2, **table}
    return {**data, "images": ["left", "right"], "image_size": 32}


HEADS = {"price": {"task": "regression"}, "tags": {"task": "multi_label"}}


def test_grad_cam_of_a_test_row_takes_its_table_and_explains_any_head(montage, tmp_path):
    one = trained(tmp_path, {"name": "oct_resnet20"}, HEADS, **montage)
    image, table = choose_sample(one.setup, 2)
    *_, test = split_dataset(one.setup.config.DataLoader, one.setup.source.load(one.setup.reading), None)
    assert (
        image.shape == (3, 32, 32)
        and table.tolist() == test.table[2].tolist()
        and table[0] == float(test.targets["area"][2])
    )
    expected = one.load()(*(paddle.to_tensor(values[None]) for values in (image, table))).numpy()[0]
    _, (row,) = gradcam_picture(one, [("2", image)], None, table)
    assert row["explained"] == row["prediction"] == f"price {expected[0]:.4g}"
    for name in ("tags", "tags.x", "price"):
        _, (row,) = gradcam_picture(one, [("2", image)], name, table)
        assert row["explained"].startswith(name.replace(".", " "))
    with pytest.raises(UserError, match="there is no head 'x'"):
        gradcam_picture(one, [("2", image)], "x", table)
    with pytest.raises(UserError, match=r"takes rows of a table, not single images; .* --index"):
        read_images(one.setup, [montage["root"]])


def test_networks_with_a_table_have_stages_filters_and_connectivity(montage, tmp_path):
    one = trained(tmp_path, {"name": "oct_resnet20"}, HEADS, **montage)
    _, rows = stages_picture(one, None, choose_sample(one.setup, 0)[0])
    assert [row["stage"] for row in rows] == ["1", "2"] and filters_picture(one).dtype == np.uint8
    dense = trained(tmp_path, {"name": "densenet_cifar", "depth": 16, "growth": 4}, HEADS, **montage)
    assert len(connectivity_picture([dense])[1]) == 2 * 3
    heads = trained(tmp_path, {"name": "densenet_cifar", "depth": 16, "growth": 4}, {**HEADS}, **without(montage))
    assert len(connectivity_picture([heads])[1]) == 2 * 3


def without(montage, *more):
    return {key: value for key, value in montage.items() if key not in ("numbers", "categories", *more)}


def test_a_table_alone_is_refused_in_one_sentence(montage, tmp_path):
    table = {key: value for key, value in montage.items() if key not in ("images", "image_size")}
    one = trained(tmp_path, {"name": "mlp"}, HEADS, **table)
    draw = [
        lambda: choose_sample(one.setup, 0),
        lambda: read_images(one.setup, [montage["root"]]),
        lambda: stages_picture(one, None, np.zeros((3, 32, 32), np.uint8)),
        lambda: filters_picture(one),
    ]
    for function in draw:
        with pytest.raises(UserError, match="mlp takes a table without images, so there is nothing to draw"):
            function()
    with pytest.raises(UserError, match="MLP has no dense blocks"):
        connectivity_picture([one])


def test_grad_cam_of_several_labels_explains_the_likeliest_or_one_by_name(montage, tmp_path):
    one = trained(tmp_path, {"name": "resnet20"}, {"tags": HEADS["tags"]}, **without(montage))
    image, table = choose_sample(one.setup, 0)
    assert table is None
    _, (row,) = gradcam_picture(one, [("0", image)], "y")
    assert row["explained"].startswith("y ") and row["prediction"].endswith("%")
    with pytest.raises(UserError, match="there is no label 'z'"):
        gradcam_picture(one, [("0", image)], "z")
