"""Train a network from a configuration.

python tools/train.py -c configs/octresnet50.yaml
python tools/train.py -c configs/octresnet50.yaml -o Global.epochs=5 DataLoader.batch_size=64
python tools/train.py -c configs/octresnet50.yaml --dry-run
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite import cli
from ppcls_lite.engine import run_dir


def main() -> None:
    parser = cli.config_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="build everything, run one batch, print the plan")
    parser.add_argument("--force", action="store_true", help="train even where the memory seems far from enough")
    args = parser.parse_args()
    config = run_dir.stay(cli.load_config(args), args.config, args.override)
    cli.import_paddle(several=True)
    if args.dry_run:
        from ppcls_lite.engine.plan import make_plan

        print(make_plan(config))
    else:
        from ppcls_lite.engine.train import train

        train(config, args.force)


if __name__ == "__main__":
    cli.run(main)
