"""The study's tables: from the committed runs, and from made-up ones with known effects."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from ppcls_lite.ablation.protocol import load_protocols
from ppcls_lite.ablation.study import compare, describe_study, write_study
from ppcls_lite.ablation.study_comparisons import INTERACTION, PRIMARY, SECONDARY
from ppcls_lite.ablation.study_pages import BEGIN, END, render_pages, write_pages
from ppcls_lite.ablation.study_runs import read_parts
from ppcls_lite.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "study"
PAGES = ("README.md", "README_ch.md", "docs/study.md", "docs/study_ch.md")
COLUMNS = (FOLDER / "A.csv").read_text().split("\n", 1)[0].split(",")
# Mean top-1 in percent by arm, 70 for the others; the differences between seeds are those of _noise.
MEANS = {
    ("A", "resnet20_pooled"): 76.0,
    ("A", "octresnet20"): 73.0,
    ("A", "resnet20"): 74.0,
    ("A", "octresnet20_strided"): 70.5,
    ("A", "octresnet20_alpha0.25"): 75.4,
    ("A", "resnet20_pooled_narrow"): 73.0,
    ("C", "octresnet20_60ep"): 69.0,
}


def _noise(arm, seed):
    """In points: a part that all arms share, and a smaller one of each arm, which is large for the narrow one."""
    spread = 2.0 if "narrow" in arm else 0.1
    return 0.5 * seed + np.random.default_rng([seed, *arm.encode()]).normal(0, spread)


def write_parts(folder, seeds=5, keep=lambda part, arm, seed: True):
    for protocol in load_protocols("study"):
        with open(folder / f"{protocol.name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for arm in protocol.arms:
                for seed in range(min(seeds, protocol.seeds)):
                    if keep(protocol.name, arm, seed):
                        top1 = (MEANS.get((protocol.name, arm), 70.0) + _noise(arm, seed)) / 100
                        macs = 26_329_728 if arm.startswith("oct") or "narrow" in arm else 40_813_184
                        started = f"2026-11-25T0{seed}:00:00+00:00"
                        writer.writerow([arm, seed, top1, 0.7, 20, 272474, macs, 60.0, 3000.0, started, "0123456789"])
    return folder


def findings(folder):
    found = compare(SECONDARY, read_parts(folder))
    return {(finding.comparison.family, finding.comparison.name): finding for finding in found}


def test_the_committed_tables_are_those_of_the_committed_runs():
    text = (FOLDER / "tables.md").read_text()
    assert text == describe_study(read_parts(FOLDER)), "run: python tools/study.py"
    for plot in ("accuracy.png", "length.png"):
        assert (FOLDER / plot).exists() == (f"({plot})" in text)


def test_the_committed_pages_have_the_tables_of_the_committed_runs():
    pages = render_pages(ROOT, read_parts(FOLDER))
    assert set(pages) == {ROOT / page for page in PAGES}
    for page, text in pages.items():
        assert page.read_text() == text, "run: python tools/study.py"


@pytest.mark.parametrize("page", ["docs/study.md", "docs/study_ch.md"])
def test_figures_in_the_text_are_those_of_the_tables(page):
    figures = set(
        re.findall(r"\d+\.\d\d\b", re.sub(f"{BEGIN}.*?{END}", "", (ROOT / page).read_text(), flags=re.DOTALL))
    )
    assert figures and figures <= set(re.findall(r"\d+\.\d\d\b", (FOLDER / "tables.md").read_text()))


def write_project(folder, **options):
    (folder / "docs" / "study").mkdir(parents=True)
    for page in PAGES:
        (folder / page).write_text(f"before\n{BEGIN} old {END}\nafter\n")
    write_parts(folder / "docs" / "study", **options)
    write_pages(folder)
    return [(folder / page).read_text() for page in PAGES]


def _row(page, first):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    (row,) = (row for row in rows if row[0] == first)
    return row


def test_complete_runs_fill_the_pages(tmp_path):
    readme, readme_ch, study, study_ch = write_project(tmp_path)
    for page in (readme, readme_ch, study, study_ch):
        assert page.startswith("before\n") and page.endswith("after\n") and " old " not in page
    octave = _row(readme, "Oct-ResNet-20, alpha 0.5")
    assert octave[1] == "26.3 M" and octave[3] == "ResNet-20, pooled"
    assert float(octave[4].split()[0]) == pytest.approx(-3, abs=0.2)
    assert _row(study, "octave convolution")[2] == octave[4].split()[0] == _row(study_ch, "八度卷积")[2]
    # The comparison of the plan is octave minus narrow; the row of the narrow network shows the opposite sign.
    narrow, planned = _row(readme, "ResNet-20 x0.81, pooled"), _row(study, "octave convolution at equal cost")
    assert narrow[3] == "Oct-ResNet-20, alpha 0.5" and narrow[4].endswith(" unresolved")
    assert float(narrow[4].split()[0]) == pytest.approx(-float(planned[2]))
    low, high = re.findall(r"[+-]\d+\.\d\d", planned[3])
    _, *bounds = re.findall(r"[+-]\d+\.\d\d", narrow[4])
    assert [float(bound) for bound in bounds] == [-float(high), -float(low)]
    assert re.fullmatch(r"unresolved; \d+ seeds needed", planned[-1])
    assert len(_row(readme_ch, "MobileNetV1 x0.25")) == 5


def test_incomplete_runs_are_named_in_the_study_and_left_out_of_the_readme(tmp_path):
    readme, _, study, study_ch = write_project(tmp_path, keep=lambda part, arm, seed: part == "A" or seed < 2)
    assert "ResNet-20, pooled" in readme and "MobileNet" not in readme
    assert _row(study, "biases before batch norm")[-1] == "incomplete"
    assert _row(study_ch, "BN 之前的偏置")[-1] == "未跑完"


def test_a_page_without_its_comments_is_refused_and_none_is_written(tmp_path):
    before = write_project(tmp_path)
    (tmp_path / "docs" / "study" / "B.csv").unlink()
    (tmp_path / PAGES[-1]).write_text(END)
    with pytest.raises(UserError, match=r"study_ch\.md has 0 tables of the study; expected one, between <!--"):
        write_pages(tmp_path)
    assert [(tmp_path / page).read_text() for page in PAGES[:-1]] == before[:-1]


def test_the_comparisons_are_the_plan_s():
    plan = " ".join((FOLDER / "plan.md").read_text().split())
    families = [comparison.family for comparison in SECONDARY]
    assert {family: families.count(family) for family in families} == {"A": 7, "B": 7, "D": 4, "C": 7, "G": 1}
    for comparison in SECONDARY:
        assert comparison.family == "C" or comparison.name in plan
    arms = {protocol.name: set(protocol.arms) for protocol in load_protocols("study")}
    for comparison in (PRIMARY, *SECONDARY):
        assert {arm for _, arm in comparison.terms} <= arms[comparison.family]
        assert sum(sign for sign, _ in comparison.terms) == 0


def test_complete_runs_give_the_effects_and_verdicts_that_were_put_in(tmp_path):
    folder = write_parts(tmp_path)
    (primary,) = compare([PRIMARY], read_parts(folder))
    assert primary.difference.mean == pytest.approx(-3.0, abs=0.2) and primary.verdict == "resolved"
    assert primary.p == primary.difference.p
    found = findings(folder)
    assert {finding.verdict for finding in found.values()} <= {"resolved", "resolved, small", "unresolved"}
    assert found["A", "pooled - strided, plain"].difference.mean == pytest.approx(2.0, abs=0.2)
    assert found["A", "pooled - strided, plain"].verdict == "resolved"
    assert found["A", "Oct .25 - pooled"].verdict == "resolved, small"
    interaction = found["A", INTERACTION.name].difference
    assert interaction.mean == pytest.approx((73.0 - 76.0) - (70.5 - 74.0), abs=0.3)
    narrow = found["A", "Oct .5 - narrow pooled"]
    assert narrow.verdict == "unresolved" and narrow.row()["seeds for 1 point"].isdigit()
    change = found["C", "Oct .5 - pooled, 60 epochs - 5 epochs"].difference
    assert change.mean == pytest.approx(-1.0, abs=0.2)


def test_holm_adjusts_within_a_family_and_can_undo_an_interval_s_verdict(tmp_path):
    found = [finding for key, finding in findings(write_parts(tmp_path)).items() if key[0] == "A"]
    smallest, largest = (pick(found, key=lambda finding: finding.difference.p) for pick in (min, max))
    assert smallest.p == pytest.approx(7 * smallest.difference.p)
    assert largest.p >= largest.difference.p
    (alone,) = (finding for key, finding in findings(tmp_path).items() if key[0] == "G")
    assert alone.p == alone.difference.p


def test_missing_arms_and_seeds_are_said(tmp_path):
    part = write_parts(
        tmp_path,
        keep=lambda part, arm, seed: part == "A" and arm != "resnet20" and (seed < 2 or arm != "octresnet20_strided"),
    )
    found = findings(part)
    assert found["A", "pooled - strided, plain"].verdict == "not run"
    assert found["A", INTERACTION.name].verdict == "not run"
    assert found["A", "pooled - strided, Oct .5"].verdict == "2 of 5 seeds so far"
    assert found["A", "Oct .25 - pooled"].verdict == "resolved, small, so far"
    assert found["G", "Oct .5 - pooled at 64 px"].verdict == "not run"
    text = write_study(tmp_path)
    assert "Part A is not complete: Holm's method covers the 4 of 7 comparisons" in text and "Part G is" not in text
    assert "27 of 123 planned runs are finished" in text
    assert "`length.png` is not drawn yet" in text and not (tmp_path / "length.png").exists()
    assert (tmp_path / "accuracy.png").exists()


def test_one_seed_gives_tables_without_intervals_and_no_plot(tmp_path):
    text = write_study(write_parts(tmp_path, seeds=1))
    assert "1 of 5 seeds so far" in text and "two seeds needed" in text and "[" not in text.split("## Secondary")[1]
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".md"}


def test_complete_runs_give_both_plots_and_the_seeds_for_0_3_points(tmp_path):
    text = write_study(write_parts(tmp_path))
    assert "(accuracy.png)" in text and "(length.png)" in text
    for name in ("accuracy.png", "length.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tables.md").read_text() == text
    assert "is not complete" not in text and "not run" not in text


def test_seeds_beyond_the_plan_and_losses_of_nan_are_said(tmp_path):
    rows = [f"resnet20,{seed},0.1,nan,20,272474,40813184,1,1,," for seed in range(6)]
    (tmp_path / "A.csv").write_text("\n".join([",".join(COLUMNS), *rows]))
    text = write_study(tmp_path)
    assert "6 (5 planned)" in text and "6 runs ended with a loss of NaN or none" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no runs of the study; expected A.csv"),
        ("arm,seed\nresnet20,0\n", "row 1: test_top1 is missing; expected the columns of runs.csv"),
        ("arm,seed,test_top1,test_loss,params,macs\nresnet2,0,.5,1,1,1\n", "'resnet2' is not an arm of part A; did"),
        ("arm,seed,test_top1,test_loss,params,macs\nresnet20,0,75.8,1,1,1\n", "expected a fraction from 0 to 1"),
        ("arm,seed,test_top1,test_loss,params,macs\nresnet20,x,.5,1,1,1\n", "expected numbers as in runs.csv"),
        ("arm,seed,test_top1,test_loss,params,macs\n" + 2 * "resnet20,0,.5,1,1,1\n", "seed 0 is there twice; remove"),
        ("arm,seed,\xff\n", "is not a CSV file"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path, content, message):
    if content is not None:
        (tmp_path / "A.csv").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=message) as error:
        write_study(tmp_path)
    assert "\n" not in str(error.value)
