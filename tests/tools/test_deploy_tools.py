"""From a trained run to the classes of image files, as a person goes it; and what mistakes are answered with."""

import csv
import json

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.deploy.formats import FORMATS, ONNX
from tests.tools.helpers import QUICK, call_tool


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three digits as image files, and a text."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(load_digits().images[:3]):
        Image.fromarray((image * 15).astype("uint8")).resize((64, 64)).save(folder / f"digit {i}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_export_says_what_it_wrote_and_how_it_differs(form, trained, exported):
    places, printed = exported
    assert "largest difference" in printed[form] and f"weights     {trained[0]}/last.pdparams" in printed[form]
    assert f"python tools/predict.py {places[form]}" in printed[form]


@pytest.mark.parametrize("form", FORMATS)
def test_an_exported_network_and_its_run_predict_the_same(form, trained, exported, pictures):
    places, _ = exported
    trees = []
    for model in (trained[0], places[form]):
        done = call_tool("tools/predict.py", model, pictures, "--json", "--batch-size", "2", "--top", "3")
        assert done.returncode == 0, done.stderr
        assert "notes.txt: it is not an image file" in done.stderr
        trees.append(json.loads(done.stdout))
    run, other = trees
    assert [image["image"] for image in run["images"]] == [f"{pictures}/digit {i}.png" for i in range(3)]
    for a, b in zip(run["images"], other["images"], strict=True):
        assert [top["class"] for top in a["top"]] == [top["class"] for top in b["top"]]
        assert [top["probability"] for top in a["top"]] == pytest.approx([t["probability"] for t in b["top"]], abs=1e-4)
    assert [one["file"] for one in other["skipped"]] == [f"{pictures}/notes.txt"]
    assert other["model"]["task"]["classes"] == list("0123456789")
    assert other["model"]["weights"].endswith("last.pdparams")


def test_predict_takes_checkpoints_and_weights_with_a_configuration(trained, pictures, tmp_path):
    folder, _ = trained
    image = pictures / "digit 0.png"
    weights = tmp_path / "moved.pdparams"
    weights.write_bytes((folder / "last.pdparams").read_bytes())
    expected = call_tool("tools/predict.py", folder, image).stdout
    assert expected.startswith(f"{image}  ")
    assert call_tool("tools/predict.py", folder / "checkpoints" / "epoch_0002", image).stdout == expected
    assert call_tool("tools/predict.py", weights, image, "-c", folder / "config.yaml").stdout == expected
    done = call_tool("tools/predict.py", weights, image)
    assert done.returncode == 2 and "lies in no run folder with a config.yaml; name its configuration" in done.stderr


def test_random_weights_are_exported_for_speed_only(pictures, tmp_path):
    arguments = ["tools/export.py", "-c", QUICK, "--format", "paddle", "--output", tmp_path / "x", "--image-size", "40"]
    arguments += ["--batch-size", "1", "-o", f"Global.output_dir={tmp_path}/run", "Arch.scale=0.125"]
    done = call_tool(*arguments)
    assert (
        done.returncode == 2 and "trained weights are needed, but" in done.stderr and "--random-weights" in done.stderr
    )
    done = call_tool(*arguments, "--random-weights")
    assert done.returncode == 0 and "3 x 40 x 40, batch 1" in done.stdout and "weights     random" in done.stdout
    done = call_tool("tools/predict.py", tmp_path / "x", pictures, "--batch-size", "2")
    assert done.returncode == 0 and "its predictions mean nothing" in done.stderr and len(done.stdout.splitlines()) == 3


def export(*arguments, form="paddle", output="/tmp/x"):
    return ["tools/export.py", "-c", QUICK, "--random-weights", "--format", form, "--output", output, *arguments]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (export(output="README.md", form="onnx"), "--output is README.md, expected a name that ends in .onnx"),
        (export(output="tools"), "--output is tools, expected a prefix of files such as tools/network"),
        (export("--image-size", "16"), "--image-size is 16, expected 32 to 4096"),
        (export("--batch-size", "many"), "--batch-size is 'many', expected a whole number at least 1"),
        (export("--batch-size", "0"), "--batch-size is 0, expected"),
        (export("--quantize", "int8"), "--quantize int8 writes ONNX files; use --format onnx instead of paddle"),
        (export("--max-drop", "1"), "--max-drop belongs to --quantize int8; add it, or leave out --max-drop"),
        (export("--quantize", "int8", "--max-drop", "-1", form="onnx", output="/tmp/x.onnx"), "--max-drop is -1.0"),
        (export(output="README.md/x"), "README.md is not writable; choose another path"),
        (["tools/predict.py", "README.md", "docs/dashboard.png"], "lies in no run folder"),
        (["tools/predict.py", "nowhere.onnx", "docs/dashboard.png"], "nowhere.onnx cannot be read"),
        (["tools/predict.py", "output/nowhere", "docs/dashboard.png"], "there are no weights at output/nowhere"),
        (["tools/predict.py", "x", "nowhere.png"], "there is no file or folder nowhere.png"),
        (["tools/predict.py", "x", "README.md", "--top", "0"], "--top is 0, expected a whole number at least 1"),
        (["tools/predict.py", "x", "README.md", "--backend", "openvino"], "--backend is openvino, but x is for eager"),
        (["tools/convert_weights.py", "x.pth", "--model", "resnet5O", "--output", "x"], "no model 'resnet5O'"),
        (["tools/convert_weights.py", "x.pth", "--model", "resnet50", "--output", "x.bin"], "--output is x.bin"),
        (["tools/convert_weights.py", "x.pth", "--model", "resnet50", "--output", "x.pdparams"], "there is no file x"),
        (["tools/benchmark.py", "deploy", "lenet", "--threads", "0"], "--threads is 0, expected"),
        (["tools/benchmark.py", "deploy", "lenet", "--alphas", ".5"], "--alphas is for octave networks"),
        (["tools/benchmark.py", "deploy", "oct_resnet20", "--alphas", "2"], "--alphas is 2.0, expected a number"),
        (["tools/benchmark.py", "deploy", "lenet", "--plot", "x.png"], "--plot draws times by alpha; give --alphas"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(arguments, message):
    if not ONNX and "nowhere.onnx" in arguments:
        message = "onnx cannot be imported"
    done = call_tool(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    *said, error = done.stderr.splitlines()
    assert message in error and error.startswith("error: ") and all(line.startswith("device: ") for line in said)


def test_damaged_exports_end_with_one_sentence(exported, pictures, tmp_path):
    places, _ = exported
    for suffix in (".pdmodel", ".pdiparams", ".meta.json"):
        data = (places["paddle"].parent / f"net{suffix}").read_bytes()
        (tmp_path / f"net{suffix}").write_bytes(data if suffix != ".pdmodel" else data[: len(data) // 2])
    done = call_tool("tools/predict.py", tmp_path / "net", pictures)
    assert done.returncode == 2 and "net.pdmodel does not match its checksum in net.meta.json" in done.stderr
    for form in ONNX:
        (tmp_path / "net.onnx").write_bytes(places[form].read_bytes()[:5000])
        done = call_tool("tools/predict.py", tmp_path / "net.onnx", pictures)
        assert done.returncode == 2 and "net.onnx is not a readable ONNX file" in done.stderr


def test_predictions_become_a_table_and_a_contact_sheet(trained, pictures, tmp_path):
    table, sheet = tmp_path / "new" / "predictions.csv", tmp_path / "sheet.png"
    arguments = ["tools/predict.py", trained[0], pictures, "--csv", table, "--contact-sheet", sheet]
    printed = call_tool(*arguments).stdout.splitlines()
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"{pictures}/digit {i}.png" for i in range(3)]
    for row, line in zip(rows, printed, strict=True):
        assert f"{row['prediction']} {float(row['probability']):.1%}" in line
    with Image.open(sheet) as picture:
        assert picture.width > 3 * 160 and picture.height > 160
    done = call_tool(*arguments)
    assert done.returncode == 2 and "exists; choose another path" in done.stderr


def test_image_files_are_checked_before_training(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(4):
                color = (40 * i, 200 * (name == "dog"), 100 * (part == "test"))
                Image.new("RGB", (40, 40), color).save(tmp_path / "photos" / part / name / f"{i}.png")
    copy = tmp_path / "photos" / "test" / "cat" / "3.png"
    copy.write_bytes((tmp_path / "photos" / "train" / "cat" / "0.png").read_bytes())
    data = [
        f"DataLoader.root={tmp_path / 'photos'}",
        "DataLoader.batch_size=4",
        f"Global.output_dir={tmp_path / 'run'}",
    ]
    arguments = ["tools/train.py", "-c", "configs/photos.yaml", "--dry-run", "--check-data", "-o", *data]
    done = call_tool(*arguments)
    assert done.returncode == 0, done.stderr
    assert "same contents: train" in done.stdout and "1 image in more than one part" in done.stdout
    (tmp_path / "photos" / "train" / "dog" / "1.png").write_bytes(b"x")
    done = call_tool(*arguments)
    assert done.returncode == 2 and "unreadable: " in done.stdout and "1 file cannot be read" in done.stderr
    assert not (tmp_path / "run").exists()
    done = call_tool("tools/train.py", "-c", "configs/photos.yaml", "--check-data", "-o", *data)
    assert done.returncode == 2 and "--check-data needs --dry-run" in done.stderr
