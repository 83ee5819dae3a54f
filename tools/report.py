"""Print the report of an ablation, and write report.md, results.csv, runs.csv and plot.png to its folder.

python tools/report.py output/ablation_quick
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.utils import cli


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("folder", type=Path, help="the ablation's folder, its --output")
    args = parser.parse_args()
    from ppcls_lite.ablation.report import write_report

    print(write_report(args.folder))


if __name__ == "__main__":
    cli.run(main)
