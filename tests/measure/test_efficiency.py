"""The efficiency table: what it measures, and that all its forms say the same."""

import csv
import json
import os
import signal
from types import SimpleNamespace

import pytest

from ppcls_lite.measure import efficiency, energy, memory
from ppcls_lite.measure.efficiency import INFERENCE, TRAINING, draw, measure_efficiency, render
from ppcls_lite.measure.memory import measure_memory
from ppcls_lite.measure.subject import Subject, parse_subjects
from ppcls_lite.utils.errors import UserError

FACTS = {"device": "a machine", "energy": "a counter"}


@pytest.fixture(scope="module")
def found():
    subjects = parse_subjects(["lenet", "resnet20"])
    return measure_efficiency(subjects, [1, 4], 16, rounds=2, layers=True)[0]


def test_every_network_is_measured_in_every_mode(found):
    assert [one.subject.name for one in found] == ["lenet", "resnet20"]
    for one in found:
        assert [(s["mode"], s["batch_size"]) for s in one.speeds] == [(INFERENCE, 1), (INFERENCE, 4), (TRAINING, 16)]
        assert all(0 < s["fastest"] <= s["seconds"] <= s["slowest"] for s in one.speeds)
    assert [speed["ratio"] for speed in found[0].speeds] == [1, 1, 1]
    assert found[1].total("params") == 272_474 and found[1].total("macs") == 40_813_184


def test_training_needs_more_memory_than_inference(found):
    """A training step of ResNet-20 with 16 images keeps 16 x 200,714 activations, and gradients, for the way back."""
    small, _, training = found[1].speeds
    assert training["process_bytes"] - small["process_bytes"] > 4 * 16 * 200_714
    assert training["allocator_bytes"] is None  # no GPU


def test_computation_efficiency_is_multiply_adds_times_images_per_second(found):
    speed = found[1].speeds[1]
    assert speed["macs_per_sec"] == pytest.approx(40_813_184 * 4 / speed["seconds"])


def test_layers_are_timed_in_the_order_in_which_they_run_and_the_rest_last(found):
    for one in found:
        assert list(one.layer_times) == [*(layer.name for layer in one.layers), "(no parameters)"]
        assert min(one.layer_times.values()) > 0


def test_csv_and_json_hold_the_same_figures(found):
    rows = list(csv.DictReader(render(found, FACTS, "csv").splitlines()))
    tree = json.loads(render(found, FACTS, "json"))
    assert tree["device"] == "a machine" and len(rows) == 6
    for row, one in zip(rows, tree["rows"], strict=True):
        assert row["device"] == "a machine" and row["network"] == one["network"] and int(row["macs"]) == one["macs"]
        assert float(row["seconds"]) == one["seconds"] and int(row["process_bytes"]) == one["process_bytes"]
    assert sum(layer["params"] for layer in tree["layers"] if layer["network"] == "resnet20") == 272_474
    assert next(iter(tree["layer_seconds"]["resnet20"])) == "conv1"


def test_the_table_names_what_is_not_available(found):
    for form in ("table", "markdown"):
        text = render(found, {"device": "a machine", "energy": "n/a: no counter"}, form)
        assert "40,813,184" in text and "n/a: no counter" in text and "time / lenet" in text
        assert "allocator" not in text  # there is none on a CPU


def test_energy_is_divided_by_the_images_of_a_batch(monkeypatch):
    counter = SimpleNamespace(source="a counter", joules_per_call=lambda call: 12.0)
    monkeypatch.setattr(energy, "open_counter", lambda: counter)
    monkeypatch.setattr(efficiency, "measure_memory", lambda *_: memory.Memory(None, None))
    found, facts = measure_efficiency(parse_subjects(["lenet"]), [1, 4], 0, rounds=1)
    assert facts == {"rounds": "1", "energy": "a counter, one window of 5 s each"}
    assert [speed["joules_per_image"] for speed in found[0].speeds] == [12.0, 3.0]


def test_the_plot_is_a_picture(found, tmp_path):
    draw(found, "a machine").savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_measurement_is_a_lack_of_memory(monkeypatch):
    monkeypatch.setattr(memory, "_measure", killed)
    with pytest.raises(MemoryError):
        measure_memory(parse_subjects(["lenet"])[0], 1, False, "cpu")


def test_what_goes_wrong_while_measuring_is_told():
    with pytest.raises(UserError, match="depth is 41"):
        measure_memory(Subject("x", "densenet_cifar", 32, 3, {"depth": 41}), 1, False, "cpu")


def test_a_lack_of_memory_names_the_network(monkeypatch):
    def lack(*_):
        raise MemoryError("pages of text")

    monkeypatch.setattr(efficiency, "measure_memory", lack)
    with pytest.raises(MemoryError, match=r"^lenet, inference of 1 image$"):
        measure_efficiency(parse_subjects(["lenet"]), [1], 0, rounds=1)


def test_ctrl_c_in_training_keeps_inference(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(efficiency, "measure_memory", lambda *_: memory.Memory(None, None, "a reason"))
    monkeypatch.setattr(efficiency, "training_step", lambda *_: interrupt)
    found, facts = measure_efficiency(parse_subjects(["lenet"]), [1], 2, rounds=2)
    assert [speed["mode"] for speed in found[0].speeds] == [INFERENCE]
    assert facts["rounds"] == "2" and facts["process memory"] == "n/a: a reason"
