"""The ablation as a person runs it: processes, kills, broken arms."""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ppcls_lite.utils.text import count
from tests.data.pictures import write_folder
from tests.helpers import records

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "ablation.py"
BASE = """
Arch: {name: resnet20, scale: 0.125}
Global: {device: cpu, epochs: 3, use_visualdl: false}
DataLoader: {dataset: image_folder, root: ROOT, image_size: 32, num_workers: 0, batch_size: 8}
Optimizer: {name: Momentum, lr: {learning_rate: 0.05}}
"""
PROTOCOL = """
seeds: 2
arms:
  plain: base.yaml
  oct: {config: base.yaml, set: [Arch.name=oct_resnet20]}
groups:
  octresnet20: [plain, oct]
"""
TIMING = ("images_per_sec", "started", "wall_s")


def write_protocol(folder, text=PROTOCOL, name="tiny"):
    write_folder(folder / "photos", images=16)
    (folder / "base.yaml").write_text(BASE.replace("ROOT", str(folder / "photos")))
    (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


def start(*arguments):
    """The tool at work, from an environment as a shell's: the tests' own process has set threads for paddle."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    """Wait for the end; returncode, stdout, stderr."""
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def call(*arguments):
    return finish(start(*arguments))


def outcome(folder):
    """results.csv and runs.csv without what a clock measured."""
    rows = []
    for name in ("results.csv", "runs.csv"):
        with open(folder / name, newline="") as file:
            rows += [{k: v for k, v in row.items() if not k.startswith(TIMING)} for row in csv.DictReader(file)]
    return rows


def results(folder):
    """When each finished run was finished."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/seed_*/result.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(protocol file, its ablation's folder, what was printed)."""
    folder = tmp_path_factory.mktemp("ablation")
    protocol = write_protocol(folder, PROTOCOL.replace("base.yaml", "shown.yaml"))
    (folder / "shown.yaml").write_text((folder / "base.yaml").read_text().replace(", use_visualdl: false", ""))
    done = call(protocol, "--output", folder / "my out #1", "--jobs", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    return protocol, folder / "my out #1", done.stdout


def test_every_arm_runs_with_every_seed_and_the_table_is_printed_and_written(undisturbed):
    _, out, printed = undisturbed
    assert sorted(path.parent.relative_to(out).as_posix() for path in results(out)) == [
        "oct/seed_0",
        "oct/seed_1",
        "plain/seed_0",
        "plain/seed_1",
    ]
    assert "[4/4]" in printed and f"visualdl --logdir '{out}'" in printed and "| octresnet20 | oct" in printed
    assert {"report.md", "results.csv", "runs.csv", "plot.png", "ablation.yaml"} <= {p.name for p in out.iterdir()}
    assert len(list(out.glob("*/seed_0/vdl/vdlgraph.*"))) == 2
    shown = records(out / "oct" / "seed_1")[0].meta_data.display_name
    assert shown == f"oct s1, {str(out).replace('/', '>')}"
    assert (out / "report.md").read_text().splitlines()[0] in printed


def test_a_finished_ablation_is_not_repeated_and_more_seeds_are_added(undisturbed):
    protocol, out, _ = undisturbed
    before = results(out)
    done = call(protocol, "--output", out, "--jobs", 2)
    assert done.returncode == 0 and "4 of 4 runs are already finished" in done.stdout
    assert results(out) == before


def test_the_report_can_be_printed_again_and_says_where_there_is_none(undisturbed, tmp_path):
    _, out, printed = undisturbed
    report = [sys.executable, str(ROOT / "tools" / "report.py")]
    done = subprocess.run([*report, str(out)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() in printed
    done = subprocess.run([*report, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "holds no ablation" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_graph_that_is_missing_is_made_good(undisturbed):
    protocol, out, _ = undisturbed
    (graph,) = (out / "oct" / "seed_0" / "vdl").glob("vdlgraph.*")
    graph.unlink()
    assert call(protocol, "--output", out).returncode == 0 and graph.exists()


def test_other_settings_are_refused_in_the_same_folder(undisturbed):
    protocol, out, _ = undisturbed
    before = results(out)
    done = call(protocol, "--output", out, "-o", "Global.epochs=4")
    assert done.returncode == 2 and "Global.epochs was 3, is 4" in done.stderr and "--output" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and results(out) == before


def test_runs_of_earlier_arms_must_have_the_same_settings(tmp_path):
    protocol, out = write_protocol(tmp_path, PROTOCOL.replace("seeds: 2", "seeds: 1")), tmp_path / "out"
    assert call(protocol, "--arms", "plain", "--output", out).returncode == 0
    done = call(protocol, "--arms", "oct", "--output", out, "-o", "Global.epochs=4")
    assert done.returncode == 2 and "plain/seed_0 was made with other settings" in done.stderr
    assert not (out / "oct").exists()


def test_another_ablation_and_foreign_folders_are_refused(undisturbed, tmp_path):
    _, out, _ = undisturbed
    done = call("quick", "--output", out)
    assert done.returncode == 2 and "holds the ablation tiny" in done.stderr
    (tmp_path / "letter.txt").write_text("mine")
    done = call("quick", "--output", tmp_path)
    assert done.returncode == 2 and "in use and holds no ablation" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_killed_three_times_it_ends_in_the_undisturbed_table(undisturbed, tmp_path):
    protocol, whole, _ = undisturbed
    out, rng = tmp_path / "out", random.Random(0)
    for _ in range(3):
        finished = results(out)
        process = start(protocol, "--output", out, "--jobs", 2)
        deadline = time.monotonic() + rng.uniform(2, 9)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        finish(process)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []  # nobody is left who would write into the folders of the next call
        assert finished.items() <= results(out).items()
    finished = results(out)
    done = call(protocol, "--output", out, "--jobs", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.items() <= results(out).items()
    assert outcome(out) == outcome(whole)


def test_ctrl_c_stops_all_runs_says_how_to_go_on_and_leaves_the_folder_free(tmp_path):
    protocol = write_protocol(tmp_path, PROTOCOL.replace("seeds: 2", "seeds: 1"))
    out = tmp_path / "out"
    process = start(protocol, "--output", out, "--jobs", 2, "-o", "Global.epochs=1000")
    while process.poll() is None and len(list(out.glob("*/seed_0/last.pdparams"))) < 2:  # both train by now
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == 130, done.stdout + done.stderr
    assert "stopping; finished epochs are kept" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert len(children) == 2 and not any(child.is_running() for child in children)


BROKEN = """
seeds: 1
arms:
  plain: base.yaml
  misspelt: {config: base.yaml, set: [Arch.name=oct_resnt20]}
  hungry: {config: base.yaml, set: [DataLoader.batch_size=33]}
  oct: {config: base.yaml, set: [Arch.name=oct_resnet20]}
groups:
  g: [plain, misspelt, hungry, oct]
"""


def test_broken_arms_are_reported_and_the_rest_goes_on(tmp_path):
    protocol, out = write_protocol(tmp_path, BROKEN), tmp_path / "out"
    done = call(protocol, "--output", out, "--jobs", 2)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert (
        "[1/4] misspelt seed 0: cannot start: arm misspelt: -o Arch.name=oct_resnt20" in done.stdout
        and "did you mean 'oct_resnet20'" in done.stdout
    )
    assert "hungry seed 0: failed: exit status 2" in done.stdout
    assert "DataLoader.batch_size 33 is more than the 32 training images" in done.stdout  # from its log
    assert "2 of 4 runs failed: misspelt seed 0, hungry seed 0" in done.stdout
    assert len(results(out)) == 2 and "| g       | misspelt | 0 of 1" in done.stdout


def test_a_run_that_is_killed_is_reported_and_the_next_call_finishes_it(tmp_path):
    protocol, out = write_protocol(tmp_path, PROTOCOL.replace("seeds: 2", "seeds: 1")), tmp_path / "out"
    process = start(protocol, "--output", out, "--jobs", 2)
    victim = None
    while victim is None and process.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(psutil.Error):  # paddle's import starts short processes of its own
            for child in psutil.Process(process.pid).children():
                if f'Global.output_dir="{out}/oct/seed_0"' in child.cmdline():
                    victim = child
    victim.kill()
    done = finish(process)
    assert done.returncode == 1
    assert "oct seed 0: failed: killed (SIGKILL), as the system does when memory runs out" in done.stdout
    assert "1 of 2 runs failed: oct seed 0" in done.stdout
    done = call(protocol, "--output", out, "--jobs", 2)
    assert done.returncode == 0 and "1 of 2 runs are already finished" in done.stdout


FOLDS = """
seeds: 1
folds: 2
set: [Global.epochs=1]
arms:
  plain: base.yaml
  oct: {config: base.yaml, set: [Arch.name=oct_resnet20]}
groups:
  octresnet20: [plain, oct]
"""


def test_every_fold_is_a_run_and_a_finished_one_is_not_repeated(tmp_path):
    protocol, out = write_protocol(tmp_path, FOLDS), tmp_path / "out"
    shutil.rmtree(tmp_path / "photos" / "test")
    done = call(protocol, "--output", out, "--jobs", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 arms x 1 seed x 2 folds" in done.stdout and "oct seed 0 fold 2: top-1" in done.stdout
    assert sorted(path.parent.relative_to(out).as_posix() for path in out.glob("*/seed_*/fold_*/result.json")) == [
        f"{arm}/seed_0/fold_{fold}" for arm in ("oct", "plain") for fold in (1, 2)
    ]
    assert (out / "logs" / "oct_seed_0_fold_1.log").exists()
    with open(out / "runs.csv", newline="") as file:
        assert [run["fold"] for run in csv.DictReader(file)] == ["1", "2"] * 2
    again = call(protocol, "--output", out)
    assert again.returncode == 0 and "4 of 4 runs are already finished" in again.stdout
    protocol.write_text(protocol.read_text().replace("folds: 2", "folds: 3"))
    done = call(protocol, "--output", out)
    assert done.returncode == 2 and "has runs of 2 folds, not 3 folds; choose another folder" in done.stderr
    done = call(protocol, "--output", tmp_path / "other", "-o", "DataLoader.fold=1/2")
    assert done.returncode == 2 and "DataLoader.fold is set by the ablation for each run" in done.stderr


def test_the_dashboard_tells_folds_apart(tiny):
    from ppcls_lite.engine.train import _display_name

    config = tiny("out/oct/seed_1/fold_2", **{"Global.name": "oct", "Global.seed": 1, "DataLoader.fold": "2/5"})
    assert _display_name(config).startswith("oct s1 f2, ") and _display_name(config).endswith(">out")


def test_groups_that_cannot_be_compared_are_refused_before_any_run(tmp_path):
    protocol = write_protocol(tmp_path, PROTOCOL.replace("config: base.yaml", "config: digits.yaml"))
    digits = "Arch: {name: mobilenet_v1}\nDataLoader: {dataset: digits}\nHeads: {value: {task: regression}}\n"
    (tmp_path / "digits.yaml").write_text(digits)
    done = call(protocol, "--output", tmp_path / "out")
    assert done.returncode == 2 and "group octresnet20: the arms have different metrics (mae, top1)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_two_ablations_do_not_share_a_folder(undisturbed):
    from ppcls_lite.utils.lock import FolderLock

    protocol, out, _ = undisturbed
    lock = FolderLock(out)
    lock.acquire()
    try:
        done = call(protocol, "--output", out)
    finally:
        lock.release()
    assert done.returncode == 2 and "is in use by another process" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quik"], "did you mean 'quick'"),
        (["quick", "--arms", "octresnet20_x05"], "did you mean 'octresnet20_x0.5'"),
        (["quick", "--seeds", "0"], "--seeds is 0, expected a whole number at least 1"),
        (["quick", "--jobs", "0"], "--jobs is 0, expected a whole number at least 1"),
        (["quick", "-o", "Global.seed=3"], "Global.seed is set by the ablation"),
        (["quick", "-o", "Global.epoch=3"], "did you mean 'epochs'"),
        (["nowhere.yaml"], "the config cannot be read"),
    ],
)
def test_mistakes_end_with_status_2_and_one_sentence(arguments, message, tmp_path):
    done = call(*arguments, "--output", tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_threads_are_divided_among_the_runs(undisturbed):
    _, out, printed = undisturbed
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // 2)
    assert f"2 runs side by side on {cores} core" in printed
    result = json.loads((out / "plain" / "seed_0" / "result.json").read_text())
    assert result["device"].endswith(f", {count(threads, 'thread')}")


def test_nohup_keeps_it_alive_when_the_terminal_goes(tmp_path):
    protocol, out = write_protocol(tmp_path, PROTOCOL.replace("seeds: 2", "seeds: 1")), tmp_path / "out"
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup passes on
    try:
        process = start(protocol, "--output", out, "--jobs", 2)
    finally:
        signal.signal(signal.SIGHUP, previous)
    while process.poll() is None and not (out / "plain" / "seed_0").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    assert finish(process).returncode == 0 and len(results(out)) == 2


def test_a_lost_terminal_ends_it_in_order(tmp_path):
    protocol, out = write_protocol(tmp_path, PROTOCOL.replace("seeds: 2", "seeds: 1")), tmp_path / "out"
    process = start(protocol, "--output", out, "--jobs", 2, "-o", "Global.epochs=1000")
    while process.poll() is None and not (out / "plain" / "seed_0" / "last.pdparams").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    done = finish(process)
    assert done.returncode == 128 + signal.SIGHUP and "stopping; finished epochs are kept" in done.stdout
