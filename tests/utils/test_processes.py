"""Several processes: started as a person starts them, on the CPU with Gloo."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ppcls_lite.config.schema import LearningRate
from ppcls_lite.engine.optim import build_schedule, scaled_rate
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError
from tests.helpers import rows
from tests.tools.helpers import QUICK, ROOT, SMALL, call, call_tool

LAUNCH = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2"]


def start(folder, *settings, launch=LAUNCH):
    options = ["-o", f"Global.output_dir={folder / 'run'}", "Global.device=cpu", *SMALL, *settings]
    command = [sys.executable, *launch, *(["--log_dir", str(folder / "log")] if launch else [])]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*command, "tools/train.py", "-c", QUICK, *options], cwd=ROOT, text=True, **pipe)


def test_a_killed_process_ends_the_run_and_one_process_goes_on(tmp_path):
    settings = ["Global.epochs=12", "Optimizer.lr.base_batch_size=16", "DataLoader.val_fraction=0.1"]
    run, log = tmp_path / "run", tmp_path / "log"
    launcher = start(tmp_path, *settings)
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "epoch_0002").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(launcher.pid).children(recursive=True)
    (second,) = [child for child in children if child.environ().get("PADDLE_TRAINER_ID") == "1"]
    os.kill(second.pid, signal.SIGKILL)
    printed, _ = launcher.communicate(timeout=90)
    assert launcher.returncode != 0 and "Pod failed" in printed
    assert "2 processes, 32 images a step" in printed
    assert (log / "workerlog.0").read_text().count("epoch 1/12") == 1
    assert "epoch 1/12" not in (log / "workerlog.1").read_text()  # the second process neither talks nor writes
    behind = len(rows(run))
    assert 2 <= behind < 12

    alone = start(tmp_path, *settings, "Global.resume=auto", launch=[])
    printed, _ = alone.communicate(timeout=90)
    assert alone.returncode == 0, printed
    assert "continues with 1 process instead of 2: 16 images a step instead of 32, 4 steps an epoch" in printed
    found = rows(run)
    assert [int(row["epoch"]) for row in found] == list(range(1, 13))
    # Cosine from 0.1 in proportion to the batch, at the end of each epoch, whoever trained it.
    config = LearningRate(name="Cosine", learning_rate=0.1, warmup_epochs=1, base_batch_size=16)
    for row in (found[1], found[-2]):
        shared = int(row["epoch"]) <= behind
        assert float(row["lr"]) == pytest.approx(_rate(config, int(row["epoch"]), 32 if shared else 16))


def _rate(config, epoch, batch):
    schedule = build_schedule(config, scaled_rate(config, batch), 64 // batch, 12)
    for _ in range(epoch * 64 // batch - 1):
        schedule.step()
    return schedule()


def test_what_two_processes_saved_scores_as_they_said(tmp_path):
    """Running statistics are those of both; the last step has 31 images, which two cannot share evenly."""
    odd = [
        "DataLoader.train_subset=63",
        "DataLoader.drop_last=false",
        "DataLoader.eval_batch_size=6",
        "Global.epochs=2",
    ]
    launcher = start(tmp_path, *odd)
    printed, _ = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, printed
    done = call_tool("tools/eval.py", "-c", tmp_path / "run" / "config.yaml", "--json", "--per-class")
    scores, row = json.loads(done.stdout)["test"], rows(tmp_path / "run")[-1]
    assert [scores["loss"], scores["top1"]] == [float(row["test_loss"]), float(row["test_top1"])]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for name in ("macro_f1", "classes", "confusion"):
        assert scores[name] == result[f"test_{name}"]
    assert (float(row["train_top1"]) * 63) == pytest.approx(round(float(row["train_top1"]) * 63), abs=1e-6)


def test_ending_the_launcher_ends_all_in_order(tmp_path):
    launcher = start(tmp_path, "Global.epochs=50")
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "epoch_0001").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(launcher.pid).children(recursive=True)
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert launcher.returncode != 0 and not alive
    assert "continue with: python tools/train.py" in (tmp_path / "run" / "train.log").read_text()


def test_mistakes_are_one_sentence_and_what_is_for_one_process_is_refused(tmp_path, monkeypatch):
    # Process 0 ends three seconds after the other one.
    slow = "import atexit, os, time\nos.environ.get('PADDLE_TRAINER_ID') == '0' and atexit.register(time.sleep, 3)\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launcher = start(tmp_path, "DataLoader.root=nowhere", "DataLoader.dataset=cifar10")
    printed, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 2 and "error: DataLoader.root nowhere lacks" in printed
    assert "Traceback" not in printed and not (tmp_path / "run").exists()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ID", "1"), ("ENDPOINTS", "127.0.0.1:1,127.0.0.1:2")):
            patch.setenv(f"PADDLE_TRAINER_{name}", value)
        patch.setenv("PADDLE_TRAINERS_NUM", "2")
        processes.check_environment(several=True)
        with pytest.raises(UserError, match="runs in a single process"):
            processes.check_environment()


def test_alone_everything_is_trivial():
    assert (processes.rank(), processes.count_processes(), processes.count_local()) == (0, 1, 1)
    assert processes.gather("x") == ["x"] and processes.mean(0.5) == 0.5
    with pytest.raises(UserError, match="no"):
        processes.on_rank0(lambda: (_ for _ in ()).throw(UserError("no")))


def test_a_refusal_of_one_process_is_that_of_all(monkeypatch):
    monkeypatch.setattr(processes, "gather", lambda own: [own, "the second one lacks a file"])
    with pytest.raises(UserError, match="the second one lacks a file"):
        processes.raise_everywhere(lambda: 1)
    monkeypatch.setattr(processes, "gather", lambda own: [own, None])
    assert processes.raise_everywhere(lambda: 1) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"PADDLE_TRAINER_ID": "abc"},
        {"PADDLE_TRAINERS_NUM": "x"},
        {"PADDLE_TRAINER_ID": "1"},
        {"PADDLE_TRAINERS_NUM": "2"},
        {"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ID": "0", "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:7000"},
    ],
)
def test_an_environment_of_no_launcher_is_refused(environment):
    done = call("tools/train.py", "-c", QUICK, **environment)
    assert done.returncode == 2
    assert re.fullmatch("error: the environment has PADDLE_TRAINER_ID=.* no launcher sets; .*\n", done.stderr)


def test_processes_of_this_machine_are_counted(monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", "10.0.0.1:7000,10.0.0.1:7001,10.0.0.2:7000")
    monkeypatch.setenv("PADDLE_CURRENT_ENDPOINT", "10.0.0.1:7001")
    assert processes.count_local() == 2
