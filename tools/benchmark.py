"""Measure the costs of networks; networks take turns in one process, after a warm-up.

  python tools/benchmark.py efficiency resnet50 oct_resnet50 densenet121 vovnet39 --plot efficiency.png
  python tools/benchmark.py efficiency configs/cifar/densenet40.yaml configs/cifar/osa40_5x43.yaml --layers
  python tools/benchmark.py efficiency vovnet27_slim vovnet27_slim:bottleneck=true --format markdown
  python tools/benchmark.py deploy resnet50 oct_resnet50 --backend onnxruntime paddle --threads 1 --profile
  python tools/benchmark.py deploy resnet50 oct_resnet50 --backend onnxruntime openvino --precision float32 int8
  python tools/benchmark.py deploy oct_resnet50 oct_mobilenet --alphas 0 .125 .25 .5 .75 --plot alphas.png
  python tools/benchmark.py train-step resnet50 oct_resnet50 --image-size 64 --batch-size 32 --exchanges
  python tools/benchmark.py loader -c configs/photos.yaml -o DataLoader.root=photos DataLoader.num_workers=2
  python tools/benchmark.py scaling resnet50 oct_resnet50 --bandwidth 12
  python -m paddle.distributed.launch --nproc_per_node 2 tools/benchmark.py scaling resnet20

efficiency: parameters, multiply-adds, memory access cost, activations, speed, memory and energy side by side.
deploy: exported networks (random weights) in the runtimes of tools/predict.py, on the CPU or, in ONNX Runtime, on a
GPU; octave networks are compared with the plain networks that they replace. --alphas measures octave networks at each
alpha; 0 is the plain network. --precision int8-onnxruntime is the 8-bit file of tools/export.py --runtime onnxruntime;
bfloat16 is OpenVINO's.
train-step: seconds of a training step (forward, backward, SGD with momentum) and its ratio to the first network's.
--exchanges also times octave networks with two other ways to add the upsampled low branch: nn.Upsample, and reshape
with broadcast.
loader: images/s of the training images of a configuration, of decoding their files alone (by the same workers, in full
size) and of reading them (the pixels that training takes, resized); without -c, of crop and flip at 32 px.
scaling: seconds of a training step and of its gradient exchange (measured if several processes are started), and the
predicted efficiency of more processes (docs/scaling.md).
"""

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.config.options import Fraction, NonNegative, Positive, PositiveFloat, Threads, coerce
from ppcls_lite.measure import tables
from ppcls_lite.measure.subject import parse_subjects
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli, processes
from ppcls_lite.utils.errors import UserError

BACKENDS = ("eager", "paddle", "onnxruntime", "openvino")
PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int8-onnxruntime")


def main() -> None:
    args = parse()
    for name, kind in LIMITS.items():
        given = getattr(args, name, None)
        for value in given if isinstance(given, list) else [given]:
            if value is not None:
                coerce(value, kind, f"--{name.replace('_', '-')}")
    args.run(args)


LIMITS = {
    "image_size": Positive,
    "batch_size": Positive,
    "batch_sizes": Positive,
    "threads": Threads,
    "alphas": Fraction,
    "train_batch_size": NonNegative,
    "images": Positive,
    "rounds": Positive,
    "bandwidth": PositiveFloat,
}


def parse():
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    efficiency = commands.add_parser("efficiency", help="the efficiency table")
    step = commands.add_parser("train-step", help="seconds of a training step")
    deploy = commands.add_parser("deploy", help="exported networks in their runtimes")
    scaling = commands.add_parser("scaling", help="training steps in several processes")
    loader = commands.add_parser("loader", help="images/s of the data loader")
    networks = "models (see tools/summary.py --list), with or without options, and configuration files"
    for command in (efficiency, step, deploy, scaling):
        command.add_argument("networks", nargs="+", metavar="NETWORK[:OPTION=VALUE,...]", help=networks)
    size = "side in pixels (default: that of a configuration, 224 for a model with 1000 classes, else 32)"
    for command in (efficiency, deploy, scaling):
        command.add_argument("--image-size", type=int, help=size)
    efficiency.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], help="for inference (default 1 8)")
    efficiency.add_argument("--train-batch-size", type=int, default=8, help="for training; 0 for none (default 8)")
    efficiency.add_argument("--device", choices=("auto", "gpu", "cpu"), default="auto", help="(default auto)")
    efficiency.add_argument("--layers", action="store_true", help="also costs and times layer by layer")
    efficiency.add_argument("--plot", metavar="PNG", help="draw time against memory access cost and multiply-adds")
    efficiency.set_defaults(run=benchmark_efficiency)
    deploy.add_argument("--backend", nargs="+", choices=BACKENDS, default=["onnxruntime"], help="(default onnxruntime)")
    deploy.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"], help="(default float32)")
    deploy.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu is for onnxruntime (default cpu)")
    deploy.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    deploy.add_argument("--batch-size", type=int, default=1, help="images per run (default 1)")
    deploy.add_argument("--alphas", type=float, nargs="+", help="of octave networks; 0 is the plain network")
    deploy.add_argument("--profile", action="store_true", help="also the time of each operator")
    deploy.add_argument("--plot", metavar="PNG", help="draw time and multiply-adds by alpha")
    deploy.set_defaults(run=benchmark_deploy)
    step.add_argument("--image-size", type=int, default=64, help="side in pixels (default 64)")
    step.add_argument("--batch-size", type=int, default=32, help="images per step (default 32)")
    step.add_argument("--exchanges", action="store_true", help="also time octave networks with other exchanges")
    step.set_defaults(run=benchmark_train_step)
    loader.add_argument("-c", "--config", metavar="CONFIG", help="YAML file, see configs/ (default: random images)")
    cli.add_overrides(loader, "settings that override the file's, such as DataLoader.num_workers=4")
    loader.add_argument("--images", type=int, help="random images per epoch (default 50000)")
    loader.add_argument("--batch-size", type=int, help="random images per batch (default 256)")
    loader.set_defaults(run=benchmark_loader)
    scaling.add_argument("--batch-size", type=int, default=32, help="images per step and process (default 32)")
    scaling.add_argument("--bandwidth", type=float, metavar="GB/S", help="between processes (default: as measured)")
    scaling.set_defaults(run=benchmark_scaling)
    for command in (efficiency, step, loader, deploy, scaling):
        command.add_argument("--rounds", type=int, default=7, help="measured turns of each (default 7)")
        formats = tables.FORMATS[:2] if command is scaling else tables.FORMATS
        command.add_argument("--format", choices=formats, default="table", help="output format (default table)")
    return parser.parse_args()


def start(device: str = "auto", **options) -> str:
    """Import paddle and choose the device; logs go to stderr."""
    cli.log_to_stderr()
    cli.import_paddle(**options)
    from ppcls_lite.utils.device import select_device

    return select_device(device, "--device")


def check_plot(args) -> Path | None:
    """The file for --plot."""
    if not args.plot:
        return None
    plot = cli.new_file(args.plot, "--plot")
    if plot.suffix != ".png":
        raise UserError(f"--plot is {plot}, expected a name that ends in .png")
    return plot


def save_plot(figure, plot: Path) -> None:
    plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(plot, format="png", dpi=110)


def benchmark_efficiency(args) -> None:
    subjects = parse_subjects(args.networks, args.image_size)
    plot = check_plot(args)
    start(args.device)
    from ppcls_lite.measure import efficiency
    from ppcls_lite.runs.result import describe_versions
    from ppcls_lite.utils.device import describe_device

    sizes = list(dict.fromkeys(args.batch_sizes))
    found, measured = efficiency.measure_efficiency(subjects, sizes, args.train_batch_size, args.rounds, args.layers)
    facts = {"device": describe_device(), "versions": describe_versions(), **measured}
    print(efficiency.render(found, facts, args.format))
    if plot:
        save_plot(efficiency.draw(found, facts["device"]), plot)


def benchmark_deploy(args) -> None:
    subjects = parse_subjects(args.networks, args.image_size)
    plot = check_plot(args)
    if plot and not args.alphas:
        raise UserError("--plot draws times by alpha; give --alphas, such as --alphas 0 .25 .5")
    start("cpu", threads=args.threads, quiet=True)
    from ppcls_lite.deploy import benchmark
    from ppcls_lite.runs.result import describe_versions
    from ppcls_lite.utils.device import describe_device

    if args.alphas:
        subjects = benchmark.with_alphas(subjects, args.alphas)
    backends = list(dict.fromkeys(args.backend))
    measured = args.batch_size, args.threads, args.rounds, args.profile
    precisions = list(dict.fromkeys(args.precision))
    found = benchmark.measure_deployed(subjects, backends, *measured, precisions, args.device)
    runtimes = [f"{name} {version(name)}" for name in backends if name in ("onnxruntime", "openvino")]
    versions = ", ".join([describe_versions(), *runtimes])
    device = describe_device() if args.device == "cpu" else f"the first GPU; {describe_device()}"
    facts = {"device": device, "versions": versions, "batch": args.batch_size, "rounds": args.rounds}
    print(benchmark.render(found, facts, args.format))
    if plot:
        save_plot(benchmark.draw(found, facts["device"]), plot)


def benchmark_loader(args) -> None:
    if args.override and args.config is None:
        raise UserError("-o changes settings of a configuration; give one with -c CONFIG")
    setup = load_setup(args.config, args.override) if args.config else None
    start("cpu")
    from ppcls_lite.engine.build import build_loaders
    from ppcls_lite.measure.steps import random_loader, time_loader
    from ppcls_lite.measure.timing import median_ratio

    if setup is None:
        loader = random_loader(args.images or 50_000, args.batch_size or 256)
        facts = {"images": len(loader.split), "batch": loader.batch_size, "rounds": args.rounds}
    else:
        given = [name for name in ("images", "batch_size") if getattr(args, name) is not None]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise UserError(f"{option} is for random images; with -c, set DataLoader.train_subset or batch_size by -o")
        loader = build_loaders(setup, setup.source.load(setup.reading)).train
        data = setup.config.DataLoader
        facts = {"config": args.config, "images": len(loader.split), "batch": loader.batch_size}
        facts |= {"workers": data.num_workers, "rounds": args.rounds}
    number = sum(map(len, loader.batches()))
    records, rows = [], []
    timings = time_loader(loader, args.rounds)
    for name, timing in timings.items():
        times = timing.record()
        median, fastest, slowest = (f"{number / seconds:,.0f}" for seconds in times.values())
        ratio = median_ratio(timing, timings["loader"])
        records.append({"measured": name, **times, "images_per_sec": number / times["seconds"], "loader_ratio": ratio})
        row = {"measured": name, "images/s (slowest to fastest)": f"{median} ({slowest} to {fastest})"}
        rows.append({**row, "loader / it": f"{ratio:.2f}"})
    print(tables.render(args.format, facts, records, [("", rows)]))


def benchmark_train_step(args) -> None:
    subjects = parse_subjects(args.networks, args.image_size)
    if args.exchanges and args.image_size % 32:
        raise UserError(f"--image-size is {args.image_size}, expected a multiple of 32 with --exchanges")
    start()
    from ppcls_lite.measure.steps import add_by_broadcast, add_by_upsample, training_step, with_exchange
    from ppcls_lite.measure.timing import median_ratio, time_in_turns
    from ppcls_lite.utils.device import describe_device

    calls = {}
    for subject in subjects:
        calls[subject.name] = training_step(subject.build(), subject, args.batch_size)
        if args.exchanges and subject.model.startswith("oct_"):
            calls[f"{subject.name}, nn.Upsample"] = with_exchange(calls[subject.name], add_by_upsample)
            calls[f"{subject.name}, broadcast"] = with_exchange(calls[subject.name], add_by_broadcast)
    first = subjects[0].name
    records, rows = [], []
    timings = time_in_turns(calls, args.rounds)
    for name, timing in timings.items():
        speed, ratio = args.batch_size / timing.median, median_ratio(timing, timings[first])
        record = {"network": name, **timing.record(), "images_per_sec": speed, "ratio": ratio}
        row = {"network": name, "ms (fastest to slowest)": tables.times(record), "images/s": f"{speed:.1f}"}
        records.append(record)
        rows.append({**row, f"time / {first}": f"{ratio:.2f}"})
    facts = {"device": describe_device(), "px": args.image_size, "batch": args.batch_size, "rounds": args.rounds}
    print(tables.render(args.format, facts, records, [("", rows)]))


def benchmark_scaling(args) -> None:
    subjects = parse_subjects(args.networks, args.image_size)
    number = processes.count_processes()
    if number == 1 and args.bandwidth is None:
        raise UserError("one process cannot measure a bandwidth; give --bandwidth, or start several (see --help)")
    processes.connect(start(several=True))
    from ppcls_lite.measure.scaling import measure_scaling
    from ppcls_lite.measure.timing import median_ratio
    from ppcls_lite.utils.device import describe_device

    found = measure_scaling(subjects, args.batch_size, args.rounds)
    if processes.rank() != 0:
        return
    rows = []
    for one in found:
        row = {
            "network": one.name,
            "gradients, MiB": f"{one.gradient_bytes / 2**20:.1f}",
            "step alone, ms": tables.milliseconds(one.alone.median),
        }
        if one.exchange is not None:
            row[f"step of {number}, ms"] = tables.milliseconds(one.together.median)
            row["exchange, ms"] = tables.milliseconds(one.exchange.median)
            row["GB/s"] = f"{one.bandwidth / 1e9:.2f}"
            row["measured efficiency"] = f"{median_ratio(one.alone, one.together):.2f}"
        bandwidth = args.bandwidth * 1e9 if args.bandwidth else one.bandwidth
        for count in (2, 4, 8, 16):
            row[f"efficiency of {count}"] = f"{one.alone.median / one.predict(count, bandwidth):.2f}"
        rows.append(row)
    source = f"an assumed bandwidth of {args.bandwidth:g} GB/s" if args.bandwidth else "the measured bandwidth"
    facts = {"device": describe_device(), "batch per process": args.batch_size, "rounds": args.rounds}
    facts["efficiencies of 2 to 16"] = f"computed with {source}"
    print(tables.render(args.format, facts, [], [("", rows)]))


if __name__ == "__main__":
    cli.run(main)
