"""What VisualDL's pages show of a run, beside its curves."""

import numpy as np
import pytest
from visualdl import LogReader
from visualdl.proto import record_pb2

from ppcls_lite.data import load_dataset
from ppcls_lite.engine import build
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.pictures import plots
from ppcls_lite.runs.dashboard import RECORDS, tags_of
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import complete, load_setup
from ppcls_lite.weights.load import load_pretrained
from tests.helpers import records
from tests.tools.helpers import call


def test_every_weight_has_a_histogram_of_all_its_values_an_epoch(finished):
    folder, result = finished
    histograms = [value for value in records(folder) if value.WhichOneof("one_value") == "histogram"]
    network = build_network(load_setup(folder / "config.yaml"))
    weights = {f"weights/{name}": p.size for name, p in network.named_parameters() if p.ndim > 1}
    assert {value.tag for value in histograms} == set(weights)
    for tag, size in weights.items():
        found = [value for value in histograms if value.tag == tag]
        assert [value.id for value in found] == list(range(1, result["epochs"] + 1))
        assert all(sum(value.histogram.hist) == size for value in found)


def test_runs_are_shown_by_name_seed_and_folder(finished):
    folder, _ = finished
    assert records(folder)[0].meta_data.display_name == f"finished s0, {str(folder).replace('/', '>')}"


def test_pictures_of_training_images_and_of_both_confusion_matrices_are_there(finished):
    folder, result = finished
    reader = LogReader(file_path=str(folder / "vdl" / RECORDS))
    found = {tag: [point.id for point in reader.get_data("image", tag)] for tag in reader.get_tags()["image"]}
    names = {tag.replace("%", "/") for tag in found}
    assert names == {"images/training", "images/confusion_val", "images/confusion_test"}
    assert sorted(step for steps in found.values() for step in steps) == [0, result["epochs"], result["epochs"]]


def test_confusion_counts_every_image_in_its_true_row(finished):
    folder, result = finished
    setup = load_setup(folder / "config.yaml")
    network = build_network(setup)
    load_pretrained(network, folder / "last.pdparams")
    loader = build.build_loaders(setup, load_dataset("digits")).test
    counts = evaluate(network, setup.task, loader).sums["confusion"]
    labels = loader.target
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels, minlength=10))
    assert np.trace(counts) / counts.sum() == pytest.approx(result["test_top1"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 3, 32, 32), (512, 512, 3)),  # 8 x 8 images, each pixel doubled
        ((64, 1, 8, 8), (512, 512, 3)),
        ((64, 3, 224, 224), (896, 896, 3)),  # 4 x 4: more would be over 1024
        ((3, 3, 32, 32), (64, 64, 3)),
        ((1, 3, 2000, 2000), (2000, 2000, 3)),
    ],
)
def test_a_grid_has_as_many_images_as_fit(shape, expected):
    assert plots.tile(np.zeros(shape, np.float32)).shape == expected


def test_a_grid_shows_the_images_in_reading_order(rng):
    images = rng.random((4, 3, 64, 64), np.float32)
    grid = plots.tile(images)
    np.testing.assert_array_equal(grid[:64, 64:], np.round(255 * images[1].transpose(1, 2, 0)).astype(np.uint8))
    np.testing.assert_array_equal(grid[64:, :64], np.round(255 * images[2].transpose(1, 2, 0)).astype(np.uint8))


def test_training_images_are_those_of_the_first_step_resized_and_back_in_their_range(tiny):
    config = tiny(**{"DataLoader.image_size": 48, "DataLoader.crop_padding": 0})
    loader = build.build_loaders(complete(config), load_dataset("digits")).train
    images = build.first_images(loader, 48)
    assert images.shape == (16, 3, 48, 48) or images.shape == (16, 1, 48, 48)
    assert images.min() > -1e-5 and images.max() < 1 + 1e-5 and images.max() > 0.9


@pytest.mark.parametrize("classes", [3, 30])
def test_a_confusion_matrix_is_drawn_with_few_and_many_classes(classes):
    figure = plots.draw_confusion(2 * np.eye(classes, dtype=int), [f"class {i}" for i in range(classes - 1)])
    axes = figure.axes[0]
    assert axes.get_title() == f"{2 * classes} of {2 * classes} correct (100.00%)"
    assert ("class 0" in [label.get_text() for label in axes.get_xticklabels()]) == (classes < 20)


@pytest.mark.parametrize("name", ["oct_mobilenet", "resnet20"])
def test_the_graph_is_written_by_a_process_of_its_own(name, tmp_path):
    (tmp_path / "c.yaml").write_text(f"Arch: {{name: {name}}}")
    done = call("tools/summary.py", "-c", tmp_path / "c.yaml", "--graph", tmp_path / "vdl")
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "vdl").iterdir()
    assert written.name.startswith("vdlgraph.") and f'"{name}"' in written.read_text()


def test_first_records_survive_a_rewind_and_the_outcome_does_not(finished, tmp_path):
    from ppcls_lite.runs.dashboard import rewind

    folder, _ = finished
    copy = tmp_path / "vdl" / RECORDS
    copy.parent.mkdir()
    copy.write_bytes((folder / "vdl" / RECORDS).read_bytes())
    assert rewind(copy, {epoch: {"loss/train"} for epoch in (1, 2)}) == 2
    kept = records(tmp_path)
    assert {value.id for value in kept} == {0, 1, 2}
    assert not any(value.WhichOneof("one_value") == "hparam" for value in kept)
    assert {value.tag for value in kept} >= {"images/training", "config", "loss/train"}
    assert isinstance(kept[0], record_pb2.Record.Value)


def test_losses_have_one_section_and_the_headline_another():
    tags = tags_of(["top1", "top5"])
    assert (tags["val_top1"], tags["val_loss"]) == ("accuracy/top1_val", "loss/val") and "val_top5" not in tags
    tags = tags_of(["loss", "exact", "colour_loss", "colour_top1", "colour_top5"])
    assert (tags["test_loss"], tags["test_colour_loss"]) == ("loss/test", "loss/colour_test")
    assert (tags["test_exact"], tags["test_colour_top1"]) == ("metrics/exact_test", "metrics/colour_top1_test")
    assert not any(tag.startswith("accuracy/") or "top5" in tag for tag in tags.values())
    assert tags_of(["colour_top1", "loss", "exact"])["train_colour_top1"] == "accuracy/colour_top1_train"
    assert tags_of(["colour_loss", "loss"])["train_colour_loss"] == "loss/colour_train"
    for names in (["loss", "mae"], ["top5", "top1"], ["colour_loss", "loss", "colour_top1"]):
        tags = tags_of(names)
        assert len(set(tags.values())) == len(tags) and f"test_{names[0]}" in tags
