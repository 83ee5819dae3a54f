"""Train a network from a configuration.

python tools/train.py -c configs/octresnet50.yaml
python tools/train.py -c configs/octresnet50.yaml -o Global.epochs=5 DataLoader.batch_size=64
python tools/train.py -c configs/octresnet50.yaml --dry-run
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.runs.resume import use_actual_output_dir
from ppcls_lite.tasks.setup import Setup, load_setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import count


def main() -> None:
    parser = cli.config_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="build everything, run one batch, print the plan of the run"
    )
    parser.add_argument("--check-data", action="store_true", help="with --dry-run: first read all image files")
    parser.add_argument("--force", action="store_true", help="train even if the estimated memory is far too small")
    args = parser.parse_args()
    if args.check_data and not args.dry_run:
        raise UserError("--check-data needs --dry-run; add it")
    setup = load_setup(args.config, args.override)
    config = use_actual_output_dir(setup.config, args.config, args.override)
    setup = dataclasses.replace(setup, config=config)
    cli.import_paddle(several=True)
    if args.check_data:
        check_data(setup)
    if args.dry_run:
        from ppcls_lite.engine.plan import make_plan

        print(make_plan(setup))
    else:
        from ppcls_lite.engine.train import train

        train(setup, args.force)


def check_data(setup: Setup) -> None:
    """Read all files of the data set and print a report."""
    from ppcls_lite.data.check import check_files

    data = setup.config.DataLoader
    report = check_files(setup.source.load(setup.reading), data.num_workers, sys.stderr.isatty())
    print(report.describe())
    if report.unreadable and data.on_bad_image == "error":
        number = count(len(report.unreadable), "file")
        raise UserError(f"{number} cannot be read; replace or remove them, or set DataLoader.on_bad_image=skip")


if __name__ == "__main__":
    cli.run(main)
