"""Every task, from its data to the predictions of a run and of both exports."""

import csv
import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.config import load as configs
from ppcls_lite.deploy.export import export
from ppcls_lite.deploy.opening import open_predictor
from ppcls_lite.engine.evaluate import score
from ppcls_lite.engine.train import train
from ppcls_lite.runs.run_dir import METADATA
from ppcls_lite.runs.trained import describe_network, load_trained
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.errors import UserError
from tests.deploy.formats import FORMATS, ONNX
from tests.helpers import interrupt_at, records, rows

SMALL = {"name": "resnet20", "scale": 0.125}
TABLE = {"numbers": ["area"], "categories": ["zip"]}
ONE = {"images": ["front"]}
BOTH = {"images": ["front", "back"], "montage": [1, 2], **TABLE}
COLOUR, KIND, TAGS = ({"task": task} for task in ("classification", "classification", "multi_label"))
PRICE = {"task": "regression", "loss": "mape", "log": True}

CASES = {  # network, data, heads
    "classes": (SMALL, ONE, {"colour": COLOUR}),
    "labels": (SMALL, ONE, {"tags": TAGS}),
    "composed labels": (SMALL, {"dataset": "digit_sets", "train_subset": 32, "test_subset": 24}, {"digits": TAGS}),
    "number": (SMALL, BOTH, {"price": PRICE}),
    "table alone": ({"name": "mlp"}, TABLE, {"price": PRICE}),
    "two heads": (SMALL, ONE, {"colour": COLOUR, "kind": {**KIND, "weight": 0.5}}),
    "three kinds": (SMALL, BOTH, {"colour": COLOUR, "price": PRICE, "tags": TAGS}),
    "three heads of images": (SMALL, ONE, {"colour": COLOUR, "price": PRICE, "tags": TAGS}),
}
METRICS = {
    "classification": ["top1", "top5"],
    "multi_label": ["map", "f1", "hamming", "exact"],
    "regression": ["mape", "mae", "rmse", "r2", "median"],
}
PICTURES = {"classification": "confusion", "multi_label": "precision_recall", "regression": "predicted"}


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A folder with 40 rows and their images."""
    root = tmp_path_factory.mktemp("houses")
    rng = np.random.default_rng(0)
    lines = ["front,back,area,zip,price,colour,kind,tags"]
    for i in range(40):
        for side in ("front", "back"):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(root / f"{side}{i:02}.png")
        tags = "|".join(name for name in ("new", "old", "sale") if rng.random() < 0.5)
        cells = (f"{50 + i}", "abc"[i % 3], f"{100 + 10 * i}", ("red", "blue")[i % 2], ("1", "02")[i // 2 % 2], tags)
        lines.append(",".join((f"front{i:02}.png", f"back{i:02}.png", *cells)))
    (root / "houses.csv").write_text("\n".join(lines) + "\n")
    return root


class Run:
    """A finished run of a case."""

    def __init__(self, case, houses, folder):
        self.arch, self.data, self.heads = CASES[case]
        if "dataset" not in self.data:
            self.data = {
                "dataset": "table",
                "root": str(houses),
                "table": "houses.csv",
                "test_fraction": 0.3,
                **self.data,
            }
        if self.arch is SMALL and self.data["dataset"] == "table":
            self.data["image_size"] = 32
        self.folder = folder / "run"
        self.result = train(self.config("run"))
        self.setup = load_setup(self.folder / "config.yaml")

    def config(self, name, **settings):
        raw = {
            "Arch": self.arch,
            "Global": {"device": "cpu", "epochs": 2, "output_dir": str(self.folder.parent / name), **settings},
            "DataLoader": {"batch_size": 8, **self.data},
            "Heads": self.heads,
            "Optimizer": {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.003}},
        }
        return configs.build(raw, "house")

    def names(self):
        """The metrics of each head, with its prefix."""
        several = len(self.heads) > 1
        return {f"{head}_" if several else "": METRICS[one["task"]] for head, one in self.heads.items()}


@pytest.fixture(scope="module", params=CASES)
def run(request, houses, tmp_path_factory):
    return Run(request.param, houses, tmp_path_factory.mktemp("run"))


def test_results_carry_the_names_of_the_heads(run):
    result = run.result
    for prefix, metrics in run.names().items():
        assert all(np.isfinite(result[f"test_{prefix}{name}"]) for name in ["loss", *metrics])
    several = len(run.heads) > 1
    assert result["task"] == ("several" if several else next(iter(run.heads.values()))["task"])
    assert result["metric"] == ("loss" if several else METRICS[result["task"]][0])
    assert result["score"] == result[f"test_{result['metric']}"]
    table = rows(run.folder)
    assert len(table) == 2 and all(f"test_{prefix}loss" in table[0] for prefix in run.names())
    if several:
        weighted = sum(one.get("weight", 1) * result[f"test_{head}_loss"] for head, one in run.heads.items())
        assert result["test_loss"] == pytest.approx(weighted)
        assert ("test_exact" in result) == all(one["task"] == "classification" for one in run.heads.values())


def test_an_interrupted_run_ends_with_the_same_bytes(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(run.config("broken"))
    resumed = train(run.config("broken", resume="auto"))
    broken = run.folder.parent / "broken"
    assert (broken / "last.pdparams").read_bytes() == (run.folder / "last.pdparams").read_bytes()
    assert resumed["test_loss"] == run.result["test_loss"]


def test_scoring_gives_the_result_again(run):
    task = run.setup.task
    found = score(run.setup, run.folder / "last.pdparams", per_class=task.has_classes)["test"]
    for prefix, metrics in run.names().items():
        for name in ["loss", *metrics]:
            assert found[prefix + name] == pytest.approx(run.result[f"test_{prefix}{name}"], rel=1e-6), name
        if "top1" in metrics or "map" in metrics:
            assert found[f"{prefix}classes"] == run.result[f"test_{prefix}classes"]


def test_the_metadata_restore_the_task(run):
    path = run.folder / METADATA
    metadata = Metadata.from_json(path.read_text(), path)
    described = describe_network(run.setup, metadata.weights)
    assert json.dumps(metadata.to_dict()) == json.dumps(described.to_dict())
    assert metadata.columns == described.columns and metadata.normalization == described.normalization
    assert metadata.restore_task().describe() == run.setup.task.describe() == json.loads(path.read_text())["task"]


@pytest.mark.parametrize("form", FORMATS)
def test_exports_predict_as_the_run(form, run, houses, tmp_path):
    setup, file = run.setup, tmp_path / ("x.onnx" if form == "onnx" else "x")
    weights = run.folder / "last.pdparams"
    network = load_trained(setup, weights, prepares=False)
    export(network, describe_network(setup, str(weights)), form, file)
    predictors = [open_predictor(path, None, None, "cpu", 1) for path in (run.folder, file)]
    table = houses / "houses.csv"
    if run.data["dataset"] != "table":  # a list of image files
        table = tmp_path / "files.csv"
        table.write_text("image\n" + "".join(f"front{i:02}.png\n" for i in range(40)))
    expected, found = (list(one.predict_rows(table, str(houses), 16)) for one in predictors)
    assert len(expected) == 40
    check_equal(setup.task, expected, found)
    written = found[0].row(setup.task)
    heads = run.heads if len(run.heads) > 1 else ["prediction"]
    for head in heads:  # a column of the table that is also predicted keeps its own cells
        assert {head, f"predicted_{head}"} & set(written)
    if len(setup.spec.fields.images if setup.spec.fields else ("image",)) == 1 and not network.table_width:
        files = sorted(houses.glob("front*.png"))
        single = [list(one.predict_files(files, 16)) for one in predictors]
        check_equal(setup.task, *single)
        check_equal(setup.task, expected, single[0])
    if form == "onnx":
        import onnx

        names = [output.name for output in onnx.load(str(file)).graph.output]
        assert names == (list(run.heads) if len(run.heads) > 1 else ["logits"])


@pytest.mark.skipif(not ONNX or importlib.util.find_spec("ml_dtypes") is None, reason="needs ONNX and ml_dtypes")
def test_8_bit_exports_are_scored_and_keep_the_outputs_of_every_head(run, houses, tmp_path):
    import onnx

    from ppcls_lite.engine.quantized import Quantization, export_quantized

    setup, file, weights = run.setup, tmp_path / "x.onnx", run.folder / "last.pdparams"
    network, how = load_trained(setup, weights, prepares=False), Quantization(images=16, max_drop=1e6)
    metadata = describe_network(setup, str(weights))
    if network.table_width:
        with pytest.raises(UserError, match=r"int8 is for networks that take images alone, but .* takes a table"):
            export_quantized(setup, network, metadata, file, None, how)
        assert not file.exists()
        return
    _, scores = export_quantized(setup, network, metadata, file, None, how)
    assert scores.startswith(f"test: {setup.task.headline.show(run.result['score'])} in 32 bits")
    names = [output.name for output in onnx.load(str(file)).graph.output]
    assert names == (list(run.heads) if len(run.heads) > 1 else ["logits"])
    files = sorted(houses.glob("front*.png"))
    for backend in ("onnxruntime", "openvino"):
        if importlib.util.find_spec(backend):
            found = list(open_predictor(file, None, backend, "cpu", 1).predict_files(files, 16))
            assert len(found) == len(files)


def check_equal(task, expected, found):
    """The same predictions, and numbers that differ by at most 1e-4."""
    for one, other in zip(expected, found, strict=True):
        assert list(task.row(one.values)) == list(task.row(other.values))
        compare(one.values, other.values)


def compare(one, other):
    if isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-4)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            compare(one[key], other[key])
    elif isinstance(one, list) and isinstance(next(iter(one), None), dict):  # ties may be in another order
        for pair in zip(*(sorted(items, key=lambda item: item["class"]) for items in (one, other)), strict=True):
            compare(*pair)
    else:
        assert one == other


def test_the_dashboard_has_a_section_of_losses_and_pictures_of_every_head(run):
    values = records(run.folder)
    tags = {value.tag for value in values}
    several = len(run.heads) > 1
    losses = {tag for tag in tags if tag.startswith("loss/")}
    heads = {f"loss/{head}_{part}" for head in run.heads for part in ("train", "test")} if several else set()
    assert losses == {"loss/train", "loss/test"} | heads
    headline = run.result["metric"]
    accuracy = {tag for tag in tags if tag.startswith("accuracy/")}
    assert accuracy <= {f"accuracy/{headline}_{part}" for part in ("train", "test")} and bool(accuracy) != several
    heads = zip(run.names(), run.heads.values(), strict=True)
    pictures = {f"images/{prefix}{PICTURES[one['task']]}_test" for prefix, one in heads}
    pictures |= {"images/training"} if run.setup.spec.has_images else set()
    assert {value.tag for value in values if value.WhichOneof("one_value") == "image"} == pictures
    for prefix, metrics in run.names().items():
        assert {f"metrics/{prefix}{name}_test" for name in metrics[1:] if name != "top5"} <= tags
    steps = [(value.tag, value.id) for value in values if value.WhichOneof("one_value") == "value"]
    assert len(steps) == len(set(steps))  # nothing is written twice


def test_predictions_of_test_samples_are_written_with_their_labels(run, tmp_path):
    score(run.setup, run.folder / "last.pdparams", predictions=tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv") as file:
        written = list(csv.DictReader(file))
    assert len(written) == run.result["test_images"] and {"label", "prediction"} <= set(written[0])
    if run.result["task"] == "classification":
        right = np.mean([row["label"] == row["prediction"] for row in written])
        assert right == pytest.approx(run.result["test_top1"])


def test_scores_of_many_classes_of_a_head_have_a_file(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("ppcls_lite.engine.train.MAX_ROWS", 9)
    heads = {"a": {"task": "classification", "column": "label"}, "b": {"task": "regression", "column": "value"}}
    result = train(tiny(**{"Heads": heads, "Global.epochs": 2, "Optimizer.lr.learning_rate": 1e-3}))
    assert "test_a_classes" not in result and "test_a_macro_f1" in result
    with open(tmp_path / "run" / "test_a_classes.csv") as file:
        assert [row["class"] for row in csv.DictReader(file)] == list("0123456789")
