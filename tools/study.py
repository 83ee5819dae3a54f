"""Print the tables of the study, and write tables.md, accuracy.png and length.png beside its finished runs.

python tools/study.py
python tools/study.py FOLDER

Without a folder, the tables in README.md, docs/study.md and their Chinese versions are written, too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.utils import cli


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="folder of A.csv and so on, copies of the parts' runs.csv (default: docs/study)",
    )
    args = parser.parse_args()
    from ppcls_lite.ablation.study import write_study
    from ppcls_lite.ablation.study_pages import write_pages

    root = Path(__file__).resolve().parents[1]
    print(write_study(args.folder or root / "docs" / "study"))
    if args.folder is None:
        write_pages(root)


if __name__ == "__main__":
    cli.run(main)
