"""Kill a training run at random moments, resume it, and compare it with one that was left alone.

python scripts/kill_and_resume.py                      # 20 kills of configs/quick/mobilenetv1.yaml
python scripts/kill_and_resume.py --kills 4 --seed 1 -c CONFIG -o Global.epochs=3

Every second kill comes at a random time, the others at a random operation on the run's files, which times would seldom
hit. All runs take one thread, so that as many as there are cores run at once. Exit status 1 where anything differs.
"""

import argparse
import csv
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.utils import cli
from ppcls_lite.utils.resources import count_cores

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("images_per_sec", "seconds", "started", "wall_s")
FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
KILL_AT = "KILL_AT_FILE_OPERATION"  # in a child's environment: its number, or 0 to count them
COUNTED = "file operations: "


def main() -> None:
    parser = cli.config_parser(__doc__, required=False)
    parser.set_defaults(config=str(ROOT / "configs/quick/mobilenetv1.yaml"))
    parser.add_argument("--kills", type=int, default=20, help="runs to kill once each (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--jobs", type=int, default=count_cores(), help="runs at once (the number of cores)")
    parser.add_argument("--output", help="keep the run folders here; by default they are deleted")
    args = parser.parse_args()
    cli.import_paddle(computes=False)  # for VisualDL's records
    if args.output:
        # The folder is for this alone.
        folder = cli.new_file(args.output, "--output")
        folder.mkdir(parents=True)
        sys.exit(_compare_all(args, folder))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(_compare_all(args, Path(folder)))


def _compare_all(args: argparse.Namespace, folder: Path) -> int:
    start = time.monotonic()
    whole = folder / "whole"
    done = _start(args, whole, kill_at=0)
    printed, errors = done.communicate()
    if done.returncode:
        print(errors, end="", file=sys.stderr)
        return done.returncode
    seconds = time.monotonic() - start
    operations = int(printed.rpartition(COUNTED)[2])
    print(f"left alone: {seconds:.0f} s, {operations} operations on files", flush=True)
    rng = random.Random(args.seed)
    moments = [
        {"kill_at": rng.randint(1, operations)} if number % 2 else {"after": rng.uniform(0, seconds)}
        for number in range(args.kills)
    ]
    equal = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        results = pool.map(lambda n: _kill_once(args, folder / f"kill_{n + 1}", whole, moments[n]), range(args.kills))
        for number, (how, differences) in enumerate(results, 1):
            equal += not differences
            left = (time.monotonic() - start) / number * (args.kills - number)
            outcome = f"DIFFERS: {'; '.join(differences)}" if differences else "equal"
            print(f"kill {number}/{args.kills}: {how}: {outcome} ({left / 60:.0f} min left)", flush=True)
    print(f"{equal} of {args.kills} equal the run that was left alone")
    return 0 if equal == args.kills else 1


def _kill_once(args: argparse.Namespace, folder: Path, whole: Path, moment: dict) -> tuple[str, list[str]]:
    """(what was done, what differs afterwards)."""
    while True:
        status = _kill(_start(args, folder, kill_at=moment.get("kill_at")), moment.get("after"))
        if status == -signal.SIGKILL:
            break
        if status:
            return f"run {folder.name}", [f"it failed by itself with status {status}"]
        shutil.rmtree(folder)  # it was done before; the first run took longer
        moment = {kind: type(when)(when / 2) for kind, when in moment.items()}
    what = f"file operation {moment['kill_at']}" if "kill_at" in moment else f"{moment['after']:.1f} s"
    how = f"at {what}, after {len(_rows(folder))} epochs"
    resumed = _start(args, folder, "Global.resume=auto")
    _, errors = resumed.communicate()
    if resumed.returncode:
        return how, [f"resuming failed: {errors.strip()}"]
    return how, compare(whole, folder)


def _kill(process: subprocess.Popen, after: float | None) -> int:
    """Wait for a process that may kill itself, or kill it ``after`` so many seconds; its status."""
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


def _start(args: argparse.Namespace, folder: Path, *overrides: str, kill_at: int | None = None) -> subprocess.Popen:
    settings = [*args.override, f"Global.output_dir={folder}", "Global.device=cpu", *overrides]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", args.config, "-o", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if kill_at is not None:
        command[1:2] = [__file__, command[1]]
        environment[KILL_AT] = str(kill_at)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def _run_child() -> None:
    """``tools/train.py``, killed at an operation on files of its run folder."""
    last = int(os.environ.pop(KILL_AT))
    folder = next(a.partition("=")[2] for a in sys.argv if a.startswith("Global.output_dir="))
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event in FILE_EVENTS and str(arguments[0]).startswith(folder):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    del sys.argv[0]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        print(f"{COUNTED}{count}")


def compare(whole: Path, resumed: Path) -> list[str]:
    """What of a resumed run differs from an uninterrupted one, times aside."""
    names = {path.relative_to(whole) for path in whole.rglob("*") if path.suffix in (".pdparams", ".pdopt")}
    others = {path.relative_to(resumed) for path in resumed.rglob("*") if path.suffix in (".pdparams", ".pdopt")}
    different = [f"{name} is in one of them only" for name in sorted(names ^ others)]
    for name in sorted(names & others):
        if (whole / name).read_bytes() != (resumed / name).read_bytes():
            different.append(f"{name} has other bytes")
    for what, read in (("metrics.csv", _rows), ("result.json", _result), ("VisualDL", _records)):
        if read(whole) != read(resumed):
            different.append(f"{what} differs")
    return different + [f"{path} is left over" for path in resumed.rglob("*.tmp")]


def _rows(folder: Path) -> list[dict]:
    try:
        with open(folder / "metrics.csv") as file:
            return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def _result(folder: Path) -> dict:
    result = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in TIMES}


def _records(folder: Path) -> set[tuple]:
    """What VisualDL shows, curves, weights and pictures: a repeated step may only repeat its value."""
    from ppcls_lite.runs.dashboard import RECORDS, read_records

    found = set()
    for _, record in read_records(folder / "vdl" / RECORDS):
        for value in record.values:
            kind = value.WhichOneof("one_value")
            if kind == "hparam":
                value.hparam.ClearField("name")  # a digest of the folder
            if not value.tag.endswith(TIMES) and kind not in ("meta_data", "text"):  # which name the folder
                # As text, line by line: settings are written in any order.
                found.add((value.tag, value.id, kind, *sorted(str(getattr(value, kind)).splitlines())))
    return found


if __name__ == "__main__":
    if KILL_AT in os.environ:
        _run_child()
    else:
        cli.run(main)
