"""Compare networks: train each arm with several seeds, each run in its own process; make a table and a plot.

  bash scripts/run_ablation.sh                        set up, and run the protocol that suits this machine
  bash scripts/run_ablation.sh cifar --seeds 5 --arms octresnet mobilenetv1
  bash scripts/run_ablation.sh cifar -o DataLoader.train_subset=5000 Global.epochs=10

After Ctrl-C, a kill or a power cut the same command continues; only running epochs are lost. See docs/ablation.md.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.ablation.ablation import run_ablation
from ppcls_lite.ablation.machine import choose_protocol
from ppcls_lite.ablation.protocol import Protocol, check_settings, list_protocols, load_protocols
from ppcls_lite.config.options import Seeds, Threads, coerce
from ppcls_lite.utils import cli, processes
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.signals import exit_on_signal


def main() -> None:
    parser = cli.parser(__doc__)
    parser.prog = "run_ablation.sh"
    parser.add_argument("protocol", nargs="?", help=f"{', '.join(list_protocols())}, or a YAML file")
    parser.add_argument("--seeds", type=int, help="number of runs of each arm (default: the protocol's)")
    parser.add_argument(
        "--arms", nargs="+", action="extend", default=[], metavar="NAME", help="groups or single arms (default: all)"
    )
    parser.add_argument(
        "--parts", nargs="+", action="extend", default=[], metavar="NAME", help="parts of the study (default: all)"
    )
    parser.add_argument("--jobs", type=int, help="runs at once (default: one per GPU, or per CPU core)")
    parser.add_argument("--output", type=Path, help="the ablation's folder (default: output/ablation_PROTOCOL)")
    cli.add_overrides(parser, "settings for all arms, such as Global.epochs=5")
    args = parser.parse_args()
    processes.check_environment()
    for name, kind in (("seeds", Seeds), ("jobs", Threads)):
        if getattr(args, name) is not None:
            coerce(getattr(args, name), kind, f"--{name}")
    check_settings(args.override, "-o")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, exit_on_signal)
    name = args.protocol
    if name is None:
        given = dict(setting.split("=", 1) for setting in args.override if "=" in setting)
        name, why = choose_protocol(given.get("Global.device"), given.get("DataLoader.root"))
        print(f"ablation: {name} ({why})", flush=True)
    protocols = load_protocols(name)
    output = user_path(args.output or Path("output") / f"ablation_{Path(name).stem}")
    failed = []
    for protocol in _choose_parts(protocols, args.parts):
        folder = output / protocol.name if len(protocols) > 1 else output
        failed += run_ablation(protocol, folder, args.arms, args.seeds, args.jobs, args.override)
    if failed:
        sys.exit(1)


def _choose_parts(protocols: list[Protocol], names: list[str]) -> list[Protocol]:
    known = [protocol.name for protocol in protocols]
    for name in names:
        if len(protocols) == 1:
            raise UserError("--parts is given, but this protocol has no parts; leave it out")
        if name not in known:
            raise UserError(f"--parts is {name!r}, which is not a part of this protocol; {nearest(name, known)}")
    return [protocol for protocol in protocols if not names or protocol.name in names]


if __name__ == "__main__":
    cli.run(main)
