"""Train the same steps in one process and in several, and compare the losses of each step and the scores.

python tests/stress/compare_processes.py                       # two CPU processes, configs/quick/mobilenetv1.yaml
python tests/stress/compare_processes.py --processes 4 -o Global.device=gpu -c configs/cifar/resnet20.yaml

There is no augmentation. With frozen batch norm both compute the same apart from rounding. With live batch norm each
process uses the statistics of its own images, and the difference is reported. Scores are those of the initial weights.
Exit status 1 if frozen losses differ by more than 1e-4, or scores at all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_lite.config.schema import Config
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli, processes
from ppcls_lite.utils.errors import TrainingError, UserError

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
JOB = "COMPARE_PROCESSES"  # in the environment of a child: what to do, as JSON


def main() -> None:
    parser = cli.config_parser(__doc__, required=False)
    parser.set_defaults(config=str(ROOT / "configs/quick/mobilenetv1.yaml"))
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="number to compare with one (default: 2)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps to train (default: 20)")
    args = parser.parse_args()
    config = load_setup(args.config, args.override).config
    if args.processes < 2 or args.steps < 1:
        raise UserError("--processes takes at least 2, and --steps at least 1")
    if config.DataLoader.batch_size % args.processes:
        size = config.DataLoader.batch_size
        raise UserError(f"DataLoader.batch_size is {size}, expected a multiple of --processes, which share it")
    equal = True
    for frozen in (True, False):
        alone, several = (_run(args, config, number, frozen) for number in (1, args.processes))
        gap = max(abs(a - b) for a, b in zip(alone["losses"], several["losses"], strict=True))
        name = "frozen" if frozen else "live"
        print(f"batch norm {name}: losses of {args.steps} steps differ by at most {gap:.2g}")
        same = alone["scores"] == several["scores"]
        if frozen:
            equal &= same and gap <= TOLERANCE
            print(f"scores of {alone['images']} images {'equal to the last digit' if same else 'DIFFER'}:")
            print(f"  1 process    {alone['scores']}\n  {args.processes} processes  {several['scores']}")
        else:
            print(f"  1 process    first {alone['losses'][0]:.4f}, last {alone['losses'][-1]:.4f}")
            print(f"  {args.processes} processes  first {several['losses'][0]:.4f}, last {several['losses'][-1]:.4f}")
    sys.exit(0 if equal else 1)


def _run(args: argparse.Namespace, config: Config, number: int, frozen: bool) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *args.override,
            f"DataLoader.batch_size={config.DataLoader.batch_size // number}",
            "DataLoader.crop_padding=0",
            "DataLoader.flip=false",
            "Global.sync_batch_norm=false",  # paddle could not freeze it, and there would be no difference to report
            f"Global.output_dir={folder}/run",
        ]
        job = {"config": args.config, "overrides": overrides, "steps": args.steps, "frozen": frozen, "folder": folder}
        command = [sys.executable, __file__]
        if number > 1:
            launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(number)]
            command[1:1] = [*launch, "--log_dir", f"{folder}/log"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", JOB: json.dumps(job)}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        try:
            return json.loads(Path(folder, "found.json").read_text())
        except FileNotFoundError:
            raise TrainingError(f"{number} process(es) failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}") from None


def _run_child() -> None:
    job = json.loads(os.environ.pop(JOB))
    setup = load_setup(job["config"], job["overrides"])
    config = setup.config
    cli.import_paddle(several=True)
    import paddle

    from ppcls_lite.engine.callbacks import TrainEpoch
    from ppcls_lite.engine.evaluate import evaluate
    from ppcls_lite.engine.prepare import open_device, prepare
    from ppcls_lite.runs.run_dir import RunDir

    losses: list[float] = []

    class Recorder(TrainEpoch):
        def on_train_batch_end(self, step, logs=None):
            super().on_train_batch_end(step, logs)
            losses.append(processes.mean(float(logs["loss"][0])))
            self.model.stop_training = len(losses) == job["steps"]

        def on_epoch_end(self, epoch, logs=None):
            self.progress.epoch += 1

    open_device(config)
    prepared = prepare(setup, RunDir(config.Global.output_dir))
    network, loaders = prepared.model.network, prepared.loaders
    scores = evaluate(network, setup.task, loaders.scored[1])
    if job["frozen"]:
        for layer in network.sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                layer._use_global_stats = True
    recorder = Recorder(setup, loaders.train, prepared.progress)
    prepared.model.fit(loaders.train, epochs=job["steps"], num_iters=job["steps"], verbose=0, callbacks=[recorder])
    if processes.rank() == 0:
        found = {"losses": losses, "images": scores.images, "scores": scores.values}
        Path(job["folder"], "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    cli.run(_run_child if JOB in os.environ else main)
