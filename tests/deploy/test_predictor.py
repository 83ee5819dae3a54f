"""Predicting image files: every image in its place, whatever the batches; what is no image is named."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.deploy.metadata import Metadata
from ppcls_lite.deploy.predictor import Prediction, Predictor, list_images
from ppcls_lite.errors import UserError


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
    metadata = Metadata("x", "x", 5, 8, 1, (0.5,), (0.25,), tuple("abcde"), "random")

    def run(images):
        assert images.shape[1:] == (1, 8, 8) and images.dtype == np.float32
        brightness = (images * 0.25 + 0.5).mean((1, 2, 3))
        return -100 * (brightness[:, None] - np.arange(5) / 5) ** 2

    return Predictor(metadata, run)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_every_image_gets_its_own_classes_whatever_the_batches(batch_size, pictures, predictor):
    found = list(predictor.predict_files(list_images([pictures]), batch_size, most=2))
    images = [one for one in found if isinstance(one, Prediction)]
    assert [(one.image.stem, one.top[0][:2]) for one in images] == [(str(i), (i, "abcde"[i])) for i in range(5)]
    assert all(len(one.top) == 2 and 1 > one.top[0][2] > one.top[1][2] > 0 for one in images)
    ((file, reason),) = [one for one in found if not isinstance(one, Prediction)]
    assert file == pictures / "1a.txt" and "no image" in reason


def test_a_network_of_one_batch_size_gets_no_other(pictures, predictor):
    sizes = []

    def run(images):
        sizes.append(len(images))
        return predictor.run(images)

    fixed = Predictor(replace(predictor.metadata, batch_size=2), run)
    files = [file for file in list_images([pictures]) if file.suffix == ".png"]
    found = list(fixed.predict_files(files, batch_size=3, most=5))
    assert sizes == [2, 2, 2] and found == list(predictor.predict_files(files, batch_size=5, most=5))


def test_probabilities_add_up_and_more_classes_than_there_are_can_be_asked_for(pictures, predictor):
    (one,) = predictor.predict_files([pictures / "0.png"], 1, most=9)
    assert len(one.top) == 5 and sum(share for _, _, share in one.top) == pytest.approx(1)


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
    unnamed = Metadata("x", "x", 5, 8, 1, (0.5,), (0.25,), (), "random")
    assert unnamed.class_name(3) == "3" and predictor.metadata.class_name(3) == "d"
