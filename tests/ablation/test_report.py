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

    def make(accuracies, seeds=3, groups=None, metrics=None, **changes):
        folder = tmp_path / "ablation"
        folder.mkdir()
        groups = {"octmobilenet": ["plain", "oct"]} if groups is None else groups
        Record("quick", seeds, 1, ("Global.epochs=3",), tuple(accuracies), groups).write(folder)
        for arm, values in accuracies.items():
            for seed, top1 in enumerate(values):
                run = folder / arm / f"seed_{seed}"
                run.mkdir(parents=True)
                headline = (metrics or {}).get(arm, {})
                (run / "result.json").write_text(json.dumps(result(arm, seed, top1, **headline, **changes)))
        return folder

    return make


def metric(name, unit, higher_is_better, score=None):
    """The fields of a result that name its headline."""
    fields = {"metric": name, "unit": unit, "higher_is_better": higher_is_better, "task": "x"}
    return fields if score is None else {**fields, "score": score, f"test_{name}": score}


@pytest.fixture
def folded(tmp_path):
    """``folded({arm: {seed: scores of the folds}})``: the folder of an ablation with two folds."""

    def make(scores, seeds=2):
        folder = tmp_path / "folded"
        Record("houses", seeds, 1, (), tuple(scores), {"g": tuple(scores)}, 2).write(folder.mkdir() or folder)
        for arm, by_seed in scores.items():
            for seed, found in by_seed.items():
                for fold, score in enumerate(found, 1):
                    run = folder / arm / f"seed_{seed}" / f"fold_{fold}"
                    run.mkdir(parents=True)
                    fields = result(arm, seed, 0.5, **metric("mae", "USD", False, score), test_images=10 + fold)
                    (run / "result.json").write_text(json.dumps(fields))
        return folder

    return make


TABLE = {0: (20_000, 24_000), 1: (21_000, 27_000)}
BOTH = {0: (19_000, 21_000), 1: (20_000, 24_000)}


def test_folds_are_averaged_within_a_seed_and_their_spread_is_told_apart(folded):
    folder = folded({"table": TABLE, "both": BOTH})
    text = write_report(folder)
    rows = table(text)
    # Means over folds 22,000 and 24,000; deviations over folds 2,828 and 4,243.
    assert rows["table"]["MAE, USD"] == "23,000 ± 1,414" and rows["table"]["sd of folds"] == "3,536"
    assert rows["both"]["to baseline, USD"] == "-2,000 [n/a]" and rows["both"]["seeds"] == "2"
    assert "- both against table: 2,000 USD below (lower MAE is better)" in text
    assert "2 arms, 2 seeds, 2 folds" in text and "the folds of a seed, averaged over seeds" in text
    runs, results = read_csv(folder / "runs.csv"), read_csv(folder / "results.csv")
    assert [(run["seed"], run["fold"], float(run["test_mae"])) for run in runs if run["arm"] == "both"] == [
        (str(seed), str(fold), score) for seed, scores in BOTH.items() for fold, score in enumerate(scores, 1)
    ]
    assert float(results[0]["sd_of_folds"]) == pytest.approx(3535.5, abs=0.1)
    assert float(results[1]["difference_mean"]) == -2000 and results[1]["difference_pairs"] == "2"


def test_a_seed_counts_when_all_its_folds_are_finished(folded):
    folder = folded({"table": TABLE, "both": {0: BOTH[0], 1: BOTH[1][:1]}})
    rows = table(write_report(folder))
    assert rows["both"]["seeds"] == "1 of 2" and rows["both"]["MAE, USD"] == "20,000"
    assert len(read_csv(folder / "runs.csv")) == 7


def test_before_a_seed_is_complete_there_is_no_plot(folded):
    folder = folded({"table": {0: (1.0,)}, "both": {}})
    assert table(write_report(folder))["table"]["sd of folds"] == "n/a" and not (folder / "plot.png").exists()


def test_without_folds_no_column_speaks_of_them(ablation):
    folder = ablation({"plain": PLAIN, "oct": OCT})
    assert "fold" not in write_report(folder)
    for name in ("runs.csv", "results.csv"):
        assert not any("fold" in column or column == "metric" for column in read_csv(folder / name)[0])


@pytest.mark.parametrize(
    ("fields", "title", "sentence"),
    [
        (metric("kind_top1", "%", True), "kind top-1 %", "2.00 points above"),
        (metric("map", "%", True), "mAP %", "2.00 points above"),
        (metric("mape", "%", False), "MAPE %", "2.00 points above (lower MAPE is better)"),
        (metric("mae", "USD", False), "MAE, USD", "0.0200 USD above (lower MAE is better)"),
        (metric("loss", "", False), "loss", "0.0200 above (lower loss is better)"),
        (metric("exact", "%", True), "exact %", "2.00 points above"),
    ],
)
def test_a_headline_reads_well(fields, title, sentence, ablation):
    scores = {"plain": PLAIN, "oct": OCT}
    folder = ablation(scores, metrics=dict.fromkeys(scores, fields))
    for arm, values in scores.items():
        for seed, score in enumerate(values):
            path = folder / arm / f"seed_{seed}" / "result.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "score": score}))
    text = write_report(folder)
    assert title in table(text)["plain"] and f"oct against plain: {sentence}" in text
    assert f"\n{title.split(' %')[0].split(',')[0][0].upper()}{title.split(' %')[0].split(',')[0][1:]}: mean" in text
    assert float(read_csv(folder / "results.csv")[0][f"test_{fields['metric']}_mean"]) == pytest.approx(0.6)


def test_groups_with_different_headlines_have_a_table_each(ablation):
    one, two = metric("top1", "%", True, 0.5), metric("mae", "USD", False, 12_345.6)
    groups = {"g": ["plain", "oct"], "h": ["table", "both"]}
    metrics = {"plain": one, "oct": one, "table": two, "both": two}
    folder = ablation(dict.fromkeys(metrics, PLAIN), groups=groups, metrics=metrics)
    text = write_report(folder)
    assert text.count("| group") == 2 and "top-1 %" in text and "MAE, USD" in text and "12,346" in text
    assert "Top-1, MAE: mean" in text and "One test image" not in text
    assert [row["metric"] for row in read_csv(folder / "results.csv")] == ["top1", "top1", "mae", "mae"]
    assert float(read_csv(folder / "runs.csv")[-1]["score"]) == 12_345.6
    assert (folder / "plot.png").exists()


def test_fractions_of_which_more_is_better_can_be_compared_and_others_cannot(ablation):
    pairs, heads = metric("top1", "%", True, 0.5), metric("exact", "%", True, 0.75)
    text = write_report(ablation({"plain": PLAIN, "oct": OCT}, metrics={"plain": pairs, "oct": heads}))
    assert table(text)["oct"]["top-1 or exact %"] == "75.00 ± 0.00"


def test_a_group_of_different_units_is_refused(ablation):
    metrics = {"plain": metric("top1", "%", True, 0.5), "oct": metric("mape", "%", False, 0.5)}
    with pytest.raises(UserError, match=r"different metrics \(mape, top1\); compare arms of the same task"):
        write_report(ablation({"plain": PLAIN, "oct": OCT}, metrics=metrics))


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
