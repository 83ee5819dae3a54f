"""Kill training runs at random moments, resume them, and compare them with an uninterrupted run.

python tests/stress/kill_and_resume.py                      # 20 kills of configs/quick/mobilenetv1.yaml
python tests/stress/kill_and_resume.py --kills 4 --seed 1 -c CONFIG -o Global.epochs=3

Half of the kills happen at a random time, the others at a random operation on the run's files, which random times
seldom hit. Each run uses one thread, and one run per core runs at once. Exit status 1 if anything differs.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_lite.utils import cli
from ppcls_lite.utils.resources import count_cores

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("images_per_sec", "seconds", "started", "wall_s")
FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
KILL_AT = "KILL_AT_FILE_OPERATION"  # in the environment of a child: the number of the operation, or 0 to count them
COUNTED = "file operations: "


def main() -> None:
    parser = cli.config_parser(__doc__, required=False)
    parser.set_defaults(config=str(ROOT / "configs/quick/mobilenetv1.yaml"))
    parser.add_argument("--kills", type=int, default=20, help="number of runs, each killed once (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the moments (default: 0)")
    parser.add_argument("--jobs", type=int, default=count_cores(), help="runs at once (default: the number of cores)")
    parser.add_argument("--output", help="new folder for the run folders, which are deleted by default")
    args = parser.parse_args()
    cli.import_paddle(computes=False)  # for VisualDL's records
    if args.output:
        folder = cli.new_file(args.output, "--output")
        folder.mkdir(parents=True)
        sys.exit(compare_all(args, folder))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(compare_all(args, Path(folder)))


def compare_all(args: argparse.Namespace, folder: Path) -> int:
    """Do everything; return the exit status."""
    start, whole = time.monotonic(), folder / "whole"
    process = start_run(args, whole, kill_at=0)
    printed, errors = process.communicate()
    if process.returncode:
        print(errors, end="", file=sys.stderr)
        return process.returncode
    seconds, operations = time.monotonic() - start, int(printed.rpartition(COUNTED)[2])
    print(f"uninterrupted: {seconds:.0f} s, {operations} file operations", flush=True)
    rng = random.Random(args.seed)
    moments = [
        {"kill_at": rng.randint(1, operations)} if number % 2 else {"after": rng.uniform(0, seconds)}
        for number in range(args.kills)
    ]
    equal = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        results = pool.map(lambda n: kill_once(args, folder / f"kill_{n + 1}", whole, moments[n]), range(args.kills))
        for number, (how, differences) in enumerate(results, 1):
            equal += not differences
            left = (time.monotonic() - start) / number * (args.kills - number)
            outcome = f"DIFFERS: {'; '.join(differences)}" if differences else "equal"
            print(f"kill {number}/{args.kills}: {how}: {outcome} ({left / 60:.0f} min left)", flush=True)
    print(f"{equal} of {args.kills} equal the uninterrupted run")
    return 0 if equal == args.kills else 1


def kill_once(args: argparse.Namespace, folder: Path, whole: Path, moment: dict) -> tuple[str, list[str]]:
    """Kill a run and resume it; return (when it was killed, differences)."""
    while True:
        process = start_run(args, folder, kill_at=moment.get("kill_at"))
        try:
            process.communicate(timeout=moment.get("after"))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
        if process.returncode:
            return f"run {folder.name}", [f"it failed with status {process.returncode}"]
        shutil.rmtree(folder)  # it finished before, since the first run was slower
        moment = {kind: type(when)(when / 2) for kind, when in moment.items()}
    what = f"file operation {moment['kill_at']}" if "kill_at" in moment else f"{moment['after']:.1f} s"
    how = f"at {what}, after {len(read_rows(folder))} epochs"
    resumed = start_run(args, folder, "Global.resume=auto")
    _, errors = resumed.communicate()
    return how, [f"resuming failed: {errors.strip()}"] if resumed.returncode else compare(whole, folder)


def start_run(args: argparse.Namespace, folder: Path, *overrides: str, kill_at: int | None = None) -> subprocess.Popen:
    """Start ``tools/train.py``, through this script if file operations are counted."""
    settings = [*args.override, f"Global.output_dir={folder}", "Global.device=cpu", *overrides]
    command = [str(ROOT / "tools/train.py"), "-c", args.config, "-o", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if kill_at is not None:
        command.insert(0, __file__)
        environment[KILL_AT] = str(kill_at)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def run_child() -> None:
    """Run ``tools/train.py`` and kill it at an operation on files of its run folder."""
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
    """The differences between an uninterrupted and a resumed run, apart from times."""
    names, others = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".pdparams", ".pdopt")}
        for folder in (whole, resumed)
    )
    different = [f"{name} is only in one of them" for name in sorted(names ^ others)]
    for name in sorted(names & others):
        if (whole / name).read_bytes() != (resumed / name).read_bytes():
            different.append(f"{name} has other bytes")
    for what, read in (("metrics.csv", read_rows), ("result.json", read_result), ("VisualDL", read_dashboard)):
        if read(whole) != read(resumed):
            different.append(f"{what} differs")
    return different + [f"{path} is left over" for path in resumed.rglob("*.tmp")]


def without_times(row: dict) -> dict:
    return {key: value for key, value in row.items() if key not in TIMES}


def read_rows(folder: Path) -> list[dict]:
    file = folder / "metrics.csv"
    return list(map(without_times, csv.DictReader(file.open()))) if file.exists() else []


def read_result(folder: Path) -> dict:
    return without_times(json.loads((folder / "result.json").read_text()))


def read_dashboard(folder: Path) -> set[tuple]:
    """What VisualDL shows. A set, since a repeated step is allowed if it repeats its value."""
    from ppcls_lite.runs.dashboard import RECORDS, read_records

    found = set()
    for _, record in read_records(folder / "vdl" / RECORDS):
        for value in record.values:
            kind = value.WhichOneof("one_value")
            if kind == "hparam":
                value.hparam.ClearField("name")  # a hash of the folder's name
            if not value.tag.endswith(TIMES) and kind not in ("meta_data", "text"):  # these contain the folder's name
                # Sorted lines of text, because the order of hyperparameters varies.
                found.add((value.tag, value.id, kind, *sorted(str(getattr(value, kind)).splitlines())))
    return found


if __name__ == "__main__":
    if KILL_AT in os.environ:
        run_child()
    else:
        cli.run(main)
