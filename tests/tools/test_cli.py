"""The tools as a person calls them: what they print, how they end, and what a mistake is answered with."""

import json
import os
import pickle
import subprocess
import sys
import time

import pytest
from visualdl import LogReader

from ppcls_lite.utils import cli
from tests.data.pictures import write_folder
from tests.tools.helpers import QUICK, ROOT, SMALL, call, call_tool


def test_train_prints_epochs_outcome_and_the_dashboard_s_command(trained):
    folder, done = trained
    assert f"visualdl --logdir {folder}/vdl" in done.stdout
    assert "epoch 1/2" in done.stdout and "epoch 2/2" in done.stdout and "test top-1" in done.stdout
    assert "Traceback" not in done.stderr


def test_eval_scores_a_run_folder_s_config_to_the_result_s_figure(trained):
    folder, _ = trained
    result = json.loads((folder / "result.json").read_text())
    done = call_tool("tools/eval.py", "-c", folder / "config.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["top1"] == result["test_top1"]
    assert "classes" not in json.loads(done.stdout)["test"]
    done = call_tool("tools/eval.py", "-c", folder / "config.yaml", "--json", "--per-class")
    found = json.loads(done.stdout)["test"]
    for name in ("macro_precision", "macro_recall", "macro_f1", "classes", "confusion"):
        assert found[name] == result[f"test_{name}"]
    done = call_tool("tools/eval.py", "-c", folder / "config.yaml", "--per-class")
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["class", "precision", "recall", "f1", "support"] in table
    assert [
        "macro",
        "mean",
        *(f"{found[f'macro_{name}']:.4f}" for name in ("precision", "recall", "f1")),
        "40",
    ] in table


def test_eval_and_summary_of_several_heads_and_of_a_table(tmp_path):
    small = ["DataLoader.train_subset=64", "DataLoader.test_subset=64", "Global.epochs=2"]
    run = tmp_path / "run"
    done = call_tool(
        "tools/train.py", "-c", "configs/tasks/digit_colours.yaml", "-o", f"Global.output_dir={run}", *small
    )
    assert done.returncode == 0, done.stderr
    done = call_tool("tools/eval.py", "-c", run / "config.yaml", "--per-class")
    test, digit, colour, *tables = done.stdout.split("test  ")[1].splitlines()
    assert "all right" in test and test.count("loss") == 1 and "top-1" not in test
    for line, head in ((digit, "digit"), (colour, "colour")):
        assert line.split()[:2] == [head, "top-1"] and line.count("loss") == 1
    assert tables.count("digit") == tables.count("colour") == 1 and sum("macro mean" in line for line in tables) == 2
    picture = ["-c", run / "config.yaml", "--index", 3, "--class", "colour.red", "--output", tmp_path / "pictures"]
    done = call_tool("tools/visualize.py", "gradcam", *picture)
    assert done.returncode == 0 and "colour red" in done.stdout
    done = call_tool("tools/summary.py", "-c", "configs/tasks/sum_numbers.yaml")
    assert done.stdout.splitlines()[-1] == "mlp: 65 parameters, 52 multiply-adds"


def test_summary_prints_the_totals_and_the_same_as_json():
    done = call_tool("tools/summary.py", "-c", "configs/octresnet50.yaml", "--json")
    facts = json.loads(done.stdout)
    assert facts["params"] == 23_572_554 and facts["macs"] == sum(layer["macs"] for layer in facts["layers"])
    done = call_tool("tools/summary.py", "-c", "configs/octresnet50.yaml")
    assert done.stdout.splitlines()[-1] == (
        f"oct_resnet50 at 224 px: 23,572,554 parameters, {facts['macs']:,} multiply-adds"
    )


def test_dry_run_prints_a_plan_and_writes_nothing(tmp_path):
    done = call_tool("tools/train.py", "-c", QUICK, "-o", f"Global.output_dir={tmp_path}/run", *SMALL, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert {"device", "network", "data", "schedule", "step", "time", "memory"} <= {
        line.split(" ")[0] for line in done.stdout.splitlines()
    }
    assert list(tmp_path.iterdir()) == []


def test_benchmark_puts_models_side_by_side():
    arguments = [
        "resnet20",
        "oct_resnet20",
        "--image-size",
        32,
        "--batch-size",
        2,
        "--rounds",
        2,
        "--exchanges",
        "--format",
        "json",
    ]
    done = call_tool("tools/benchmark.py", "train-step", *arguments)
    rows = json.loads(done.stdout)["rows"]
    octave = ["oct_resnet20", "oct_resnet20, nn.Upsample", "oct_resnet20, broadcast"]
    assert [row["network"] for row in rows] == ["resnet20", *octave]
    assert rows[0]["ratio"] == 1.0 and all(row["fastest"] <= row["seconds"] <= row["slowest"] for row in rows)
    done = call_tool("tools/benchmark.py", "efficiency", "lenet", "--rounds", 1, "--format", "json")
    rows = json.loads(done.stdout)["rows"]
    assert rows[0]["macs"] == 341_256 and len(rows) == 3
    done = call_tool("tools/benchmark.py", "loader", "--images", 512, "--rounds", 2)
    assert "images/s (slowest to fastest)" in done.stdout


def test_the_loader_of_a_configuration_is_compared_with_decoding_alone(tmp_path):
    write_folder(tmp_path / "photos", images=4)
    (tmp_path / "x.yaml").write_text(
        "Arch: {name: mobilenet_v1}\n"
        "DataLoader: {dataset: image_folder, batch_size: 4, image_size: 32, transforms: [RandomResizedCrop]}\n"
    )
    given = ["-c", tmp_path / "x.yaml", "-o", f"DataLoader.root={tmp_path}/photos"]
    done = call_tool("tools/benchmark.py", "loader", "--rounds", 1, "--format", "json", *given)
    rows = json.loads(done.stdout)["rows"]
    assert [row["measured"] for row in rows] == ["loader", "decoding", "reading"]
    assert rows[0]["loader_ratio"] == 1.0 and all(row["images_per_sec"] > 0 for row in rows)
    done = call_tool("tools/benchmark.py", "loader", "--images", 8, *given)
    assert done.returncode == 2 and "--images is for random images" in done.stderr


def test_pictures_of_a_run_are_files_and_on_the_dashboard(trained, tmp_path):
    config = trained[0] / "config.yaml"
    done = call_tool("tools/visualize.py", "frequency", "-c", config, "--index", 3, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "low energy" in done.stdout and f"visualdl --logdir {tmp_path}/vdl" in done.stdout
    done = call_tool("tools/visualize.py", "filters", "-c", config, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    done = call_tool("tools/visualize.py", "gradcam", "-c", config, "--index", 3, "--class", 7, "--output", tmp_path)
    assert done.returncode == 0 and "explained" in done.stdout, done.stderr
    kinds = ("filters", "frequency_digits_3", "gradcam_digits_3", "stages_digits_3")
    names = [f"{kind}_quick_octresnet20" for kind in kinds]
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == names
    for name in names:
        (records,) = (tmp_path / "vdl" / name).iterdir()
        assert LogReader(file_path=str(records)).get_tags()["image"] == [f"images/{name}"]
    (tmp_path / "filters_quick_octresnet20.png").unlink()
    done = call_tool("tools/visualize.py", "filters", "-c", config, "--output", tmp_path)
    assert done.returncode == 2 and f"{tmp_path}/vdl/filters_quick_octresnet20 exists" in done.stderr


TOOLS = [
    "ablation",
    "benchmark",
    "convert_weights",
    "eval",
    "export",
    "predict",
    "report",
    "study",
    "summary",
    "train",
    "visualize",
]


@pytest.mark.parametrize("tool", TOOLS)
def test_help_shows_examples_and_does_not_import_paddle(tool):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('tools/{tool}.py', run_name='__main__')\n"
        "except SystemExit: print('paddle' in sys.modules)"
    )
    done = call("-c", code)
    example = "bash scripts/run_ablation.sh" if tool == "ablation" else f"python tools/{tool}.py"
    assert example in done.stdout and done.stdout.splitlines()[-1] == "False"


def test_every_tool_is_among_them():
    assert sorted(path.stem for path in (ROOT / "tools").glob("*.py")) == TOOLS


def overrides(*settings):
    return ["tools/train.py", "-c", QUICK, "-o", *settings]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tools/train.py", "-c", "configs/nowhere.yaml"], "configs/nowhere.yaml: the config cannot be read"),
        (["tools/train.py", "-c", "configs"], "configs: the config cannot be read"),
        (["tools/train.py", "-c", "README.md"], "README.md"),
        (overrides("Global.epoch=3"), "Global.epoch is not a setting; did you mean 'epochs'?"),
        (overrides("Globals.epochs=3"), "Globals is not a section; did you mean 'Global'?"),
        (overrides("Global.epochs=many"), "Global.epochs is 'many', expected a whole number"),
        (overrides("Global.epochs=0"), "Global.epochs is 0, expected a whole number at least 1"),
        (overrides("epochs=3"), "expected SECTION.KEY=VALUE"),
        (overrides("Arch.name=oct_mobilnet"), "there is no model 'oct_mobilnet'; did you mean 'oct_mobilenet'?"),
        (overrides("Arch.name=mobilenet_v1"), "Arch.alpha is not an option of mobilenet_v1"),
        (overrides("Arch.alpha=2"), "Arch.alpha is 2, expected a number at least 0 and at most 1"),
        (overrides("Arch.scale=0.001"), "leaves no channel"),
        (overrides("Optimizer.lr.name=Cosin"), "did you mean 'Cosine'?"),
        (overrides("DataLoader.dataset=mnist"), "there is no data set 'mnist'; did you mean 'fashion_mnist'?"),
        (overrides("DataLoader.root=/nowhere"), "root does not apply to digits"),
        (overrides("DataLoader.dataset=cifar10", "DataLoader.root=/nowhere"), "/nowhere lacks"),
        (overrides("DataLoader.train_subset=5"), "DataLoader.train_subset asks for 5 of 1437 images"),
        (overrides("DataLoader.batch_size=5000"), "DataLoader.batch_size 5000 is more than the 1437 training images"),
        (overrides("Global.pretrained_model=nowhere"), "there are no weights at nowhere"),
        (overrides("Global.checkpoints=nowhere"), "nowhere holds no checkpoint"),
        (overrides("Global.output_dir=configs"), "configs is not empty"),
        (overrides("Global.output_dir=/proc/run"), "/proc/run cannot be written to"),
        (["tools/eval.py", "-c", QUICK, "-o", "Global.output_dir=/nowhere"], "trained weights are needed, but"),
        (["tools/summary.py"], "there is no configuration; give one"),
        (["tools/benchmark.py", "train-step", "resnet5O"], "there is no model 'resnet5O'"),
        (
            ["tools/visualize.py", "filters", "-c", QUICK, "-o", "Global.output_dir=/nowhere"],
            "trained weights are needed, but",
        ),
        (["tools/visualize.py", "frequency"], "give one of --image FILE and --index NUMBER"),
        (["tools/visualize.py", "frequency", "--image", "x", "-o", "a.b=1"], "-o changes a configuration"),
        (["tools/visualize.py", "frequency", "--image", "x", "--octaves", "99"], "--octaves is 99, expected"),
        (["tools/benchmark.py", "efficiency", "lenet", "--device", "gpu"], "--device is gpu, but"),
        (["tools/benchmark.py", "efficiency", "lenet", "--plot", "x.pdf"], "expected a name that ends in .png"),
        (["tools/visualize.py", "frequency", "--index", "1"], "give one of -c CONFIG and --dataset NAME"),
        (["tools/visualize.py", "frequency", "--image", "README.md"], "README.md: it is not an image file"),
        (
            ["tools/visualize.py", "frequency", "--index", "360", "--dataset", "digits"],
            "digits has test images 0 to 359",
        ),
        (["tools/benchmark.py", "efficiency", "lenet", "--batch-sizes", "1", "0"], "--batch-sizes is 0, expected"),
        (["tools/benchmark.py", "efficiency", "lenet", "--plot", "README.md"], "--plot: README.md exists"),
        (["tools/benchmark.py", "loader", "-o", "a.b=1"], "-o changes settings of a configuration; give one with -c"),
        (["tools/benchmark.py", "loader", "--rounds", "0"], "--rounds is 0, expected a whole number at least 1"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(arguments, message, tmp_path):
    arguments = list(arguments)
    if "-o" in arguments and not any("output_dir" in a for a in arguments):
        arguments.append(f"Global.output_dir={tmp_path}/run")
    done = call_tool(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_and_hostile_weights_are_refused(trained, tmp_path):
    folder, _ = trained
    evil = tmp_path / "evil.pdparams"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    evil.write_bytes(pickle.dumps({"fc.weight": Hostile()}))
    for weights, message in ((folder, "does not fit the network"), (evil, "which plain data never does")):
        done = call_tool("tools/eval.py", "-c", QUICK, "-o", f"Global.pretrained_model={weights}")
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "hacked").exists()


def test_ctrl_c_and_sigterm_keep_finished_epochs_and_say_how_to_go_on(tmp_path):
    for signal, status in ((2, 130), (15, 143)):
        folder = tmp_path / str(signal)
        arguments = overrides(f"Global.output_dir={folder}", *SMALL, "Global.epochs=1000")
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 120
        while not (folder / "last.pdparams").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == status
        assert f"-c {folder}/config.yaml -o Global.resume=auto" in stdout.decode()
        assert "Traceback" not in stderr.decode()
        assert (folder / "checkpoints").exists() and not (folder / "result.json").exists()


@pytest.mark.parametrize(("given", "used"), [(None, "5"), ("", "")])
def test_mkl_s_hint_is_set_where_needed_unless_the_user_set_it(given, used, monkeypatch):
    monkeypatch.setattr(cli, "needs_mkl_hint", lambda: True)
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", given or "")
    if given is None:
        monkeypatch.delenv("MKL_DEBUG_CPU_TYPE")
    cli.import_paddle()
    assert os.environ["MKL_DEBUG_CPU_TYPE"] == used
