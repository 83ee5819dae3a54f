"""The benchmark of deployed networks compares each with the plain network that it replaces."""

import csv
import importlib.util
import io
import json

import pytest

from ppcls_lite.arch import list_models
from ppcls_lite.deploy.benchmark import (
    Benchmark,
    Way,
    draw,
    list_ways,
    measure_deployed,
    plain_twin,
    render,
    with_alphas,
)
from ppcls_lite.measure.subject import parse_subjects
from ppcls_lite.utils.errors import UserError
from tests.deploy.formats import ONNX


def test_every_octave_network_has_a_plain_twin():
    octave = [name for name in list_models() if name.startswith("oct_")]
    assert {plain_twin(name) for name in octave} <= set(list_models()) and plain_twin("oct_mobilenet") == "mobilenet_v1"
    assert plain_twin("resnet50") is None


def test_an_alpha_sweep_starts_at_the_plain_network():
    subjects = with_alphas(parse_subjects(["oct_mobilenet:scale=0.5,exchange=h2l"]), [0, 0.25])
    assert [(one.model, one.options) for one in subjects] == [
        ("mobilenet_v1", {"scale": 0.5}),
        ("oct_mobilenet", {"scale": 0.5, "exchange": "h2l", "alpha": 0.25}),
    ]
    for text in ("resnet20", "oct_resnet20:alpha=0.25"):
        with pytest.raises(UserError, match=f"not for {text}"):
            with_alphas(parse_subjects([text]), [0.5])


def test_only_combinations_that_exist_are_measured():
    ways = list_ways(["onnxruntime", "openvino", "eager"], ["float32", "int8", "int8-onnxruntime"], "cpu")
    assert [str(way) for way in ways] == [
        "onnxruntime",
        "openvino",
        "eager",
        "onnxruntime, int8",
        "openvino, int8",
        "onnxruntime, int8-onnxruntime",
    ]
    assert [way.form for way in ways] == ["onnx", "onnx", None, "int8", "int8", "int8-onnxruntime"]
    assert list_ways(["onnxruntime"], ["float16"], "gpu") == [Way("onnxruntime", "float16")]
    for backend, precision, device, message in [
        ("paddle", "int8", "cpu", "int8 is for onnxruntime and openvino"),
        ("onnxruntime", "float16", "cpu", "float16 is for another device"),
        ("eager", "float32", "gpu", "--device gpu is for --backend onnxruntime, not for eager"),
    ]:
        with pytest.raises(UserError, match=message):
            list_ways([backend], [precision], device)
    with pytest.raises(UserError, match="--profile is for float32 and int8 on the CPU"):
        measure_deployed([], ["openvino"], 1, 1, 1, profiles=True, precisions=["bfloat16"])


def test_precisions_are_columns():
    common = {"network": "a", "image_size": 32, "macs": 10, "macs_per_sec": 1e9, "times_as_fast": 1.0}
    common |= {"times_fewer_macs": 1.0, "twin": "a", "seconds": 0.001, "fastest": 0.001, "slowest": 0.001}
    ways = [("onnxruntime", "float32"), ("eager", "float32"), ("onnxruntime", "int8")]
    records = [{**common, "backend": backend, "precision": precision} for backend, precision in ways]
    rows = render(Benchmark(records, {"a": {}}, {}), {}, "markdown").splitlines()
    titles = [title.strip() for title in rows[-4].strip("|").split("|")]
    assert titles[4:] == ["ms, float32", "times as fast, float32", "ms, int8", "times as fast, int8", "compared with"]
    assert [row.count("1 (1 to 1)") for row in rows[-2:]] == [2, 1]


def test_times_costs_and_profiles_are_shown_beside_those_of_the_twin(tmp_path):
    subjects = parse_subjects(["lenet", "oct_resnet20", "resnet20"])
    found = measure_deployed(subjects, ["paddle", "eager"], 2, threads=1, rounds=2, profiles=True)
    assert [(one["network"], one["backend"], one["twin"]) for one in found.records[:4]] == [
        ("lenet", "paddle", "lenet"),
        ("oct_resnet20", "paddle", "resnet20"),
        ("resnet20", "paddle", "resnet20"),
        ("lenet", "eager", "lenet"),
    ]
    octave, plain = found.records[1:3]
    assert plain["times_as_fast"] == plain["times_fewer_macs"] == 1
    assert octave["times_fewer_macs"] == plain["macs"] / octave["macs"] > 1.5
    operators = found.operators["oct_resnet20", Way("paddle", "float32")]
    assert sum(operator.calls for operator in operators if "conv2d" in operator.operator) == 62
    assert (
        all(operator.seconds > 0 for operator in operators)
        and ("lenet", Way("eager", "float32")) not in found.operators
    )
    facts = {"device": "cpu", "batch": "2"}
    tree = json.loads(render(found, facts, "json"))
    rows = list(csv.DictReader(io.StringIO(render(found, facts, "csv"))))
    assert len(tree["rows"]) == len(rows) == 6 and float(rows[1]["seconds"]) == octave["seconds"]
    assert tree["operators"][0]["network"] == "lenet"
    assert "oct_resnet20 in paddle, by operator" in render(found, facts, "table")
    draw(found, "cpu").savefig(tmp_path / "alphas.png")
    assert (tmp_path / "alphas.png").read_bytes().startswith(b"\x89PNG")


def test_heads_and_tables_are_deployed_as_configured():
    names = ("sum_numbers", "sum_both", "digit_colours")
    subjects = parse_subjects([f"configs/tasks/{name}.yaml" for name in names])
    backends = ["eager", "paddle", *(["onnxruntime"] if ONNX else [])]
    found = measure_deployed(subjects, backends, 2, threads=1, rounds=1, profiles=True)
    assert [one["network"] for one in found.records] == [f"tasks_{name}" for name in names] * len(backends)
    assert {key[0] for key in found.operators} == {f"tasks_{name}" for name in names}
    assert " 0 " not in render(found, {}, "table").split("\n\n")[1].splitlines()[2]  # no pixels


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None or not ONNX, reason="needs OpenVINO and ONNX export")
def test_openvino_tells_images_from_a_table():
    """It renames an input whose first operations it removes, such as subtraction of a mean of 0."""
    subjects = parse_subjects(["configs/tasks/sum_both.yaml"])
    (record,) = measure_deployed(subjects, ["openvino"], 2, threads=1, rounds=1, profiles=True).records
    assert record["seconds"] > 0
