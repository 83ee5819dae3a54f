"""Train many short epochs, and check that memory, open files and threads of the process do not grow.

python tests/stress/soak.py --minutes 20 --plot soak.png
python tests/stress/soak.py --minutes 2 -c configs/quick/octmobilenet.yaml

VisualDL's records are read at the same time, as its pages do. Exit status 1 if memory grows by more than 2 %, or the
number of files or threads at all, after the first quarter, or if the records cannot be read.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd
import psutil
from tqdm import tqdm

from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import TrainingError

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["DataLoader.train_subset=64", "DataLoader.test_subset=40", "DataLoader.batch_size=32", "Arch.scale=0.125"]
GROWTH = 1.02  # of memory from the second quarter to the last, allowed
INTERVAL = 2.0  # seconds between samples


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("-c", "--config", default=str(ROOT / "configs/quick/mobilenetv1.yaml"), metavar="CONFIG")
    cli.add_overrides(parser, f"settings that replace the file's and {' '.join(SHORT)}")
    parser.add_argument("--minutes", type=float, default=20.0, help="duration (default: 20)")
    parser.add_argument("--plot", metavar="FILE", help="plot memory and open files over time")
    args = parser.parse_args()
    if args.plot:
        cli.new_file(args.plot, "--plot")
    with tempfile.TemporaryDirectory() as folder:
        samples = watch(args, Path(folder))
    sys.exit(report(samples, args.plot))


def watch(args: argparse.Namespace, folder: Path) -> pd.DataFrame:
    """Sample a training process for ``args.minutes``."""
    run, samples = folder / "run", []
    settings = [*SHORT, *args.override, "Global.epochs=100000", f"Global.output_dir={run}"]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", args.config, "-o", *settings]
    with open(folder / "printed", "w") as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)
    try:
        watched, start = psutil.Process(process.pid), time.monotonic()
        bar = tqdm(total=args.minutes, unit="min", disable=None, bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} min")
        while (minutes := (time.monotonic() - start) / 60) < args.minutes:
            bar.update(minutes - bar.n)
            time.sleep(INTERVAL)
            if process.poll() is not None:
                raise TrainingError(f"training ended:\n{(folder / 'printed').read_text()[-2000:]}")
            if (run / "metrics.csv").exists():
                memory = watched.memory_info().rss / 2**20
                samples.append((minutes, memory, watched.num_fds(), watched.num_threads(), count_epochs(run)))
    finally:
        process.terminate()
        process.wait()
    return pd.DataFrame(samples, columns=["minutes", "memory", "files", "threads", "epochs"])


def count_epochs(run: Path) -> int:
    """Epochs whose loss VisualDL's reader finds, without a gap."""
    from visualdl import LogReader

    records = list((run / "vdl").glob("vdlrecords.*"))
    if not records:
        return 0
    reader = LogReader(file_path=str(records[0]))
    if "loss/train" not in reader.get_tags().get("scalar", []):
        return 0
    steps = [point.id for point in reader.get_data("scalar", "loss/train")]
    if steps != list(range(1, len(steps) + 1)):
        raise TrainingError(f"VisualDL's records have gaps: {steps[:3]} ... {steps[-3:]}")
    return len(steps)


def report(samples: pd.DataFrame, plot: str | None) -> int:
    """Print and plot the samples; return the exit status."""
    count = len(samples)
    if count < 8:
        raise TrainingError(f"there are {count} samples, expected at least 8; set more --minutes")
    # The first quarter loads what is loaded once.
    early, late, last = samples[count // 4 : count // 2].median(), samples[-(count // 4) :].median(), samples.iloc[-1]
    growth = late - early
    print(f"{last.epochs:.0f} epochs in {last.minutes:.1f} min, {count} samples")
    print(f"memory   {early.memory:.1f} MiB in the second quarter, {growth.memory:+.1f} MiB in the last")
    for kind in ("files", "threads"):
        print(f"{kind:<8} {early[kind]:.0f}, {growth[kind]:+.0f}; at most {samples[kind].max():.0f}")
    if plot:
        shown = samples.set_index("minutes")[["memory", "files"]].rename(columns={"memory": "resident memory, MiB"})
        title = f"{last.epochs:.0f} epochs of training"
        axes = shown.plot(subplots=True, title=title, figsize=(7, 3.5))
        for axis, values in zip(axes, shown.T.values, strict=True):
            axis.set_ylim(0, 1.3 * values.max())
        axes[0].figure.savefig(plot, dpi=120, bbox_inches="tight")
    return int(late.memory > GROWTH * early.memory or growth.files > 0 or growth.threads > 0)


if __name__ == "__main__":
    cli.run(main)
