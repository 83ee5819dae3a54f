"""Train many short epochs for a while, and watch what the process holds: memory, open files, threads.

python scripts/soak.py --minutes 20 --plot soak.png
python scripts/soak.py --minutes 2 -c configs/quick/octmobilenet.yaml

VisualDL's records are read all the while, as its pages do. Exit status 1 where memory grows by more than 2 %, files or
threads by any, after the first quarter, or where the records cannot be read.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil
from tqdm import tqdm

from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import TrainingError

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["DataLoader.train_subset=64", "DataLoader.test_subset=40", "DataLoader.batch_size=32", "Arch.scale=0.125"]
GROWTH = 0.02  # of memory from the second quarter to the last, allowed
EVERY = 2.0  # seconds between samples


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("-c", "--config", default=str(ROOT / "configs/quick/mobilenetv1.yaml"), metavar="CONFIG")
    cli.add_overrides(parser, f"settings that replace the file's and {' '.join(SHORT)}")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (20)")
    parser.add_argument("--plot", metavar="FILE", help="draw memory over time")
    args = parser.parse_args()
    if args.plot:
        cli.new_file(args.plot, "--plot")
    with tempfile.TemporaryDirectory() as folder:
        samples = _watch(args, Path(folder))
    sys.exit(_report(args, samples))


def _watch(args: argparse.Namespace, folder: Path) -> dict[str, np.ndarray]:
    run = folder / "run"
    settings = [*SHORT, *args.override, "Global.epochs=100000", f"Global.output_dir={run}"]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", args.config, "-o", *settings]
    samples: dict[str, list[float]] = {"seconds": [], "memory": [], "files": [], "threads": [], "epochs": []}
    with open(folder / "printed", "w") as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)
    try:
        watched, start = psutil.Process(process.pid), time.monotonic()
        with tqdm(total=round(60 * args.minutes), unit="s", disable=None) as bar:
            while (seconds := time.monotonic() - start) < 60 * args.minutes:
                time.sleep(EVERY)
                bar.update(round(seconds) - bar.n)
                if process.poll() is not None:
                    raise TrainingError(f"training ended by itself:\n{(folder / 'printed').read_text()[-2000:]}")
                if not (run / "metrics.csv").exists():
                    continue
                found = seconds, watched.memory_info().rss, watched.num_fds(), watched.num_threads(), _read_records(run)
                for kind, value in zip(samples, found, strict=True):
                    samples[kind].append(value)
    finally:
        process.terminate()
        process.wait()
    return {kind: np.array(values) for kind, values in samples.items()}


def _read_records(run: Path) -> int:
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


def _report(args: argparse.Namespace, samples: dict[str, np.ndarray]) -> int:
    """Print and draw the samples; the exit status."""
    count = len(samples["seconds"])
    if count < 8:
        raise TrainingError(f"{count} samples tell nothing; take more --minutes")
    # The first quarter loads what is loaded once.
    early, late = slice(count // 4, count // 2), slice(-(count // 4), None)
    growth = {kind: np.median(samples[kind][late]) - np.median(samples[kind][early]) for kind in samples}
    memory = np.median(samples["memory"][early])
    print(f"{samples['epochs'][-1]:.0f} epochs in {samples['seconds'][-1] / 60:.1f} min, {count} samples")
    print(f"memory   {memory / 2**20:.1f} MiB in the second quarter, {growth['memory'] / 2**20:+.1f} MiB in the last")
    for kind in ("files", "threads"):
        print(
            f"{kind:<8} {np.median(samples[kind][early]):.0f}, {growth[kind]:+.0f}; at most {samples[kind].max():.0f}"
        )
    if args.plot:
        _draw(samples, args.plot)
    return int(growth["memory"] > GROWTH * memory or growth["files"] > 0 or growth["threads"] > 0)


def _draw(samples: dict[str, np.ndarray], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, sharex=True, figsize=(7, 3.5), layout="constrained")
    panels = (("resident memory, MiB", samples["memory"] / 2**20), ("open files", samples["files"]))
    for axis, (label, values) in zip(axes, panels, strict=True):
        axis.plot(samples["seconds"] / 60, values)
        axis.set(ylabel=label, ylim=(0, 1.3 * values.max()))
    axes[1].set_xlabel("minutes")
    axes[0].set_title(f"{samples['epochs'][-1]:.0f} epochs of training")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    cli.run(main)
