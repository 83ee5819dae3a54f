"""Measure speed; models take turns in one process.

  python tools/benchmark.py train-step resnet50 oct_resnet50 --image-size 64 --batch-size 32
  python tools/benchmark.py loader

train-step: seconds of a training step (forward, backward, SGD with momentum) and its ratio to the first model's.
Octave models are also timed with other ways to add the upsampled low branch: nn.Upsample, and reshape with broadcast
(--exchanges).
loader: images/s of crop, flip and normalisation to float32 at 32 px, one process.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite import cli
from ppcls_lite.arch.registry import fixed_input_size
from ppcls_lite.errors import UserError
from ppcls_lite.options import Positive, coerce


def main() -> None:
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("train-step", help="seconds of a training step")
    step.add_argument("models", nargs="+", metavar="MODEL", help="names as tools/summary.py --list prints them")
    step.add_argument("--image-size", type=int, default=64, help="side in pixels (default 64)")
    step.add_argument("--batch-size", type=int, default=32, help="images a step (default 32)")
    step.add_argument("--exchanges", action="store_true", help="time octave models with other exchanges, too")
    step.add_argument("--stem", help="imagenet or cifar; by default the model's own")
    loader = commands.add_parser("loader", help="images/s of the data loader")
    loader.add_argument("--images", type=int, default=50_000, help="images an epoch (default 50000)")
    loader.add_argument("--batch-size", type=int, default=256, help="images a batch (default 256)")
    for command in (step, loader):
        command.add_argument("--rounds", type=int, default=7, help="measured turns of each (default 7)")
        command.add_argument("--json", action="store_true", help="print the measurements as JSON")
    args = parser.parse_args()
    if args.json:
        cli.log_to_stderr()
    for name in ("image_size", "batch_size", "images", "rounds"):
        if hasattr(args, name):
            coerce(getattr(args, name), Positive, f"--{name.replace('_', '-')}")
    if args.command == "loader":
        benchmark_loader(args)
    else:
        for name in args.models:
            fixed = fixed_input_size(name)
            if fixed and args.image_size != fixed:
                raise UserError(f"--image-size is {args.image_size}, but {name} takes {fixed} only")
        free = not all(map(fixed_input_size, args.models))
        if (free and args.image_size < 32) or (args.exchanges and args.image_size % 32):
            wanted = "a multiple of 32 with --exchanges" if args.exchanges else "at least 32"
            raise UserError(f"--image-size is {args.image_size}, expected {wanted}")
        benchmark_train_step(args)


def benchmark_loader(args) -> None:
    cli.import_paddle()
    from ppcls_lite.measure.steps import time_loader

    timing = time_loader(args.images, args.batch_size, args.rounds)
    speeds = {"median": timing.median, "fastest": timing.spread[0], "slowest": timing.spread[1]}
    speeds = {name: args.images / seconds for name, seconds in speeds.items()}
    if args.json:
        print(json.dumps({"images_per_sec": speeds}, indent=2))
    else:
        print("loader: " + ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items()) + " images/s")


def benchmark_train_step(args) -> None:
    cli.import_paddle()
    from ppcls_lite.engine.device import describe_device, select_device
    from ppcls_lite.measure.steps import add_by_broadcast, add_by_upsample, training_step, with_exchange
    from ppcls_lite.measure.timing import median_ratio, time_in_turns

    select_device("auto")
    options = {"stem": args.stem} if args.stem else {}
    calls = {}
    for name in args.models:
        calls[name] = training_step(name, args.image_size, args.batch_size, **options)
        if args.exchanges and name.startswith("oct_"):
            calls[f"{name}, nn.Upsample"] = with_exchange(calls[name], add_by_upsample)
            calls[f"{name}, broadcast"] = with_exchange(calls[name], add_by_broadcast)
    timings = time_in_turns(calls, args.rounds)
    first = timings[args.models[0]]
    rows = [
        {
            "model": name,
            "seconds": timing.median,
            "fastest": timing.spread[0],
            "slowest": timing.spread[1],
            "images_per_sec": args.batch_size / timing.median,
            "ratio": median_ratio(timing, first),
        }
        for name, timing in timings.items()
    ]
    if args.json:
        print(json.dumps({"device": describe_device(), "rows": rows}, indent=2))
        return
    print(f"{describe_device()}; {args.image_size} px, batch {args.batch_size}, {args.rounds} rounds")
    width = max(len(row["model"]) for row in rows)
    columns = "  ".join(f"{title:>8}" for title in ("s/step", "fastest", "slowest", "images/s"))
    print(f"{'model':<{width}}  {columns}  time / {args.models[0]}")
    for row in rows:
        print(
            f"{row['model']:<{width}}  {row['seconds']:>8.3f}  {row['fastest']:>8.3f}  {row['slowest']:>8.3f}  "
            f"{row['images_per_sec']:>8.1f}  {row['ratio']:.2f}"
        )


if __name__ == "__main__":
    cli.run(main)
