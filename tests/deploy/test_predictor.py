"""Predicting image files: every image in its place, whatever the batches; what is no image is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.deploy.predictor import Prediction, Predictor, list_images
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import UserError


@pytest.fixture
def pictures(tmp_path):
    """Five gray pictures, brighter and brighter, in two folders, with a text among them and a hidden file."""
    (tmp_path / "more").mkdir()
    for i in range(5):
        folder = tmp_path / "more" if i > 2 else tmp_path
        Image.new("L", (20 + i, 16), 50 * i).save(folder / f"{i}.png")
    (tmp_path / "1a.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("")
    return tmp_path


@pytest.fixture
def predictor():
    """It finds an image's brightness: class i is likest to i / 5."""
    metadata = Metadata("x", "x", 8, 1, (0.5,), (0.25,), Classification("abcde", 5).describe(), "random")

    def run(images):
        assert images.shape[1:] == (1, 8, 8) and images.dtype == np.float32
        brightness = (images * 0.25 + 0.5).mean((1, 2, 3))
        return -100 * (brightness[:, None] - np.arange(5) / 5) ** 2

    return Predictor(metadata, run)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_every_image_gets_its_own_classes_whatever_the_batches(batch_size, pictures, predictor):
    found = list(predictor.predict_files(list_images([pictures]), batch_size))
    images = [one for one in found if isinstance(one, Prediction)]
    best = [(one.image.stem, one.values["top"][0]["name"]) for one in images]
    assert best == [(str(i), "abcde"[i]) for i in range(5)]
    for one in images:
        shares = [best["probability"] for best in one.values["top"]]
        assert 1 > shares[0] > shares[1] > 0 and sum(shares) == pytest.approx(1)
    ((file, reason),) = [one for one in found if not isinstance(one, Prediction)]
    assert file == pictures / "1a.txt" and "not an image" in reason


def test_a_network_of_one_batch_size_gets_no_other(pictures, predictor):
    sizes = []

    def run(images):
        sizes.append(len(images))
        return predictor.run(images)

    fixed = Predictor(replace(predictor.metadata, batch_size=2), run)
    files = [file for file in list_images([pictures]) if file.suffix == ".png"]
    found = list(fixed.predict_files(files, batch_size=3))
    assert sizes == [2, 2, 2] and found == list(predictor.predict_files(files, batch_size=5))


def test_folders_are_searched_in_order_and_what_is_named_must_be_there(pictures, tmp_path):
    names = [str(path.relative_to(pictures)) for path in list_images([pictures])]
    assert names == ["0.png", "1.png", "1a.txt", "2.png", "more/3.png", "more/4.png"]
    assert list_images([pictures / "more", pictures / "0.png"])[-1] == pictures / "0.png"
    with pytest.raises(UserError, match=r"no file or folder .*nothing"):
        list_images([pictures / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no file in .*empty"):
        list_images([tmp_path / "empty"])


def test_classes_without_names_are_numbers(predictor):
    unnamed = replace(predictor.metadata, task=Classification((), 5).describe())
    (found,) = Predictor(unnamed, predictor.run).predict(np.full((1, 1, 8, 8), 153, np.uint8))
    assert found["top"][0]["name"] == "3"


def test_metadata_from_before_there_were_tasks_are_read():
    old = {"name": "x", "model": "x", "num_classes": 2, "image_size": 8, "channels": 1, "mean": [0.5], "std": [0.5]}
    metadata = Metadata.from_json(json.dumps({**old, "classes": ["a", "b"], "weights": "w", "batch_size": None}), "x")
    assert metadata.restore_task().describe() == Classification("ab", 2).describe()
