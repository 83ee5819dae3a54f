"""The report, from run folders written by hand."""

import csv
import json

import pytest

from ppcls_lite.ablation import report
from ppcls_lite.ablation.record import Record
from ppcls_lite.ablation.report import write_report
from ppcls_lite.ablation.statistics import Mean
from ppcls_lite.utils.errors import UserError

PLAIN, OCT = (0.50, 0.60, 0.70), (0.51, 0.62, 0.73)


def result(arm, seed, top1, **changes):
    return {
        "name": arm,
        "arch": arm,
        "alpha": None,
        "seed": seed,
        "dataset": "digits",
        "dataset_sha256": "c12c41fb5c63" + "0" * 52,
        "dataset_official": True,
        "train_images": 1437,
        "test_images": 100,
        "epochs": 3,
        "test_top1": top1,
        "test_loss": 1.0,
        "params": 1000,
        "macs": 2_000_000 if arm == "plain" else 1_000_000,
        "images_per_sec": 100.0 + seed,
        "wall_s": 60.0,
        "device": "cpu: X, 1 threads",
        "versions": "paddle 3",
        "started": "2026-01-01T00:00:00+00:00",
        "git_commit": "abc",
        **changes,
    }


@pytest.fixture
def ablation(tmp_path):
    """``ablation({arm: accuracies}, **changes)``: the folder of an ablation with these finished runs."""

    def make(accuracies, seeds=3, groups=None, **changes):
        folder = tmp_path / "ablation"
        folder.mkdir()
        groups = {"octmobilenet": ["plain", "oct"]} if groups is None else groups
        Record("quick", seeds, 1, ("Global.epochs=3",), tuple(accuracies), groups).write(folder)
        for arm, values in accuracies.items():
            for seed, top1 in enumerate(values):
                run = folder / arm / f"seed_{seed}"
                run.mkdir(parents=True)
                (run / "result.json").write_text(json.dumps(result(arm, seed, top1, **changes)))
        return folder

    return make


def table(text):
    """The rows of the Markdown table: {arm: {column: text}}."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[1]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_arm_is_a_row_with_its_difference_to_the_plain_network(ablation):
    folder = ablation({"plain": PLAIN, "oct": OCT})
    text = write_report(folder)
    rows = table(text)
    assert rows["plain"]["to baseline, points"] == "baseline" and rows["plain"]["top-1 %"] == "60.00 ± 10.00"
    # Differences of 1, 2, 3 points: 2 ± 4.3027 / sqrt(3), see test_statistics.py.
    assert rows["oct"]["to baseline, points"] == "+2.00 [-0.48, +4.48] unresolved"
    assert rows["oct"]["multiply-adds"] == "1,000,000" and rows["oct"]["seeds"] == "3"
    assert (
        "oct against plain: 2.00 points above, unresolved (95 % interval -0.48 to +4.48, 3 seeds)" in text
        and "0.50 of the multiply-adds" in text
    )
    assert "sha256 c12c41fb5c63" in text and "with Global.epochs=3" in text and "One test image is 1 point." in text
    assert (folder / "report.md").read_text().startswith(text)
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_resolved_differences_are_told_in_a_sentence(ablation):
    text = write_report(ablation({"plain": (0.5, 0.6, 0.7), "oct": (0.40, 0.51, 0.59)}))
    assert "oct against plain: 10.00 points below (95 % interval -12.48 to -7.52, 3 seeds)" in text


def test_numbers_are_in_results_csv_and_single_runs_in_runs_csv(ablation):
    folder = ablation({"plain": PLAIN, "oct": OCT})
    write_report(folder)
    plain, other = read_csv(folder / "results.csv")
    assert float(plain["test_top1_mean"]) == pytest.approx(0.6) and plain["difference_mean"] == ""
    assert float(other["difference_low"]) == pytest.approx(0.02 - 0.0248414, abs=1e-6)
    assert other["difference_verdict"] == "unresolved" and other["baseline"] == "plain"
    runs = read_csv(folder / "runs.csv")
    assert [(run["arm"], run["seed"], float(run["test_top1"])) for run in runs if run["arm"] == "oct"] == [
        ("oct", str(seed), value) for seed, value in enumerate(OCT)
    ]


def test_one_seed_has_neither_deviation_nor_interval(ablation):
    text = write_report(ablation({"plain": (0.5,), "oct": (0.6,)}, seeds=1))
    assert table(text)["oct"]["top-1 %"] == "60.00" and table(text)["oct"]["to baseline, points"] == "+10.00 [n/a]"
    assert "10.00 points above, from one seed" in text


def test_missing_runs_are_counted_and_pairs_are_seeds_that_both_have(ablation):
    folder = ablation({"plain": PLAIN, "oct": OCT[:2]})
    rows = table(write_report(folder))
    assert rows["oct"]["seeds"] == "2 of 3" and rows["plain"]["seeds"] == "3"
    assert rows["oct"]["to baseline, points"].startswith("+1.50 [")
    assert read_csv(folder / "results.csv")[1]["difference_pairs"] == "2"


def test_an_arm_without_its_plain_network_stands_alone(ablation):
    rows = table(write_report(ablation({"oct": OCT})))
    assert rows["oct"]["group"] == "" and rows["oct"]["to baseline, points"] == "n/a"


def test_an_arm_of_two_groups_is_a_row_in_each(ablation):
    groups = {"one": ["plain", "oct"], "two": ["oct", "third"]}
    text = write_report(ablation({"plain": PLAIN, "oct": OCT, "third": PLAIN}, groups=groups))
    assert sum(line.startswith("|") for line in text.splitlines()) == 2 + 4
    assert "third against oct" in text and "oct against plain" in text


def test_arms_without_a_finished_run_have_their_row(ablation):
    text = write_report(ablation({"plain": PLAIN, "oct": ()}))
    assert table(text)["oct"]["seeds"] == "0 of 3" and table(text)["oct"]["top-1 %"] == "n/a"
    assert "no seed is finished in both" in text


def test_before_any_run_is_finished_the_report_says_so(ablation):
    folder = ablation({"plain": (), "oct": ()})
    assert "no run is finished" in write_report(folder)
    assert not (folder / "plot.png").exists()


def test_runs_made_under_different_conditions_show(ablation):
    folder = ablation({"plain": PLAIN, "oct": OCT})
    path = folder / "oct" / "seed_1" / "result.json"
    path.write_text(json.dumps(result("oct", 1, 0.6, device="gpu: Y")))
    assert "machine: cpu: X, 1 threads | gpu: Y" in write_report(folder)


def test_a_folder_without_an_ablation_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no ablation"):
        write_report(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2", "", "[]", "arms: null", "protocol: quick\nseeds: 2\narms: [a]"])
def test_a_damaged_record_is_named(text, tmp_path):
    (tmp_path / "ablation.yaml").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(12345.6, "12,346 ± 1,235"), (123.4, "123 ± 12"), (12.34, "12.3 ± 1.2"), (0.1234, "0.123 ± 0.012")],
)
def test_figures_have_three_digits_and_no_exponents(seconds, shown):
    assert report._spread(Mean(seconds, seconds / 10)) == shown
