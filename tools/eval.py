"""Score trained weights on the test images, and on the validation images if the configuration has some.

python tools/eval.py -c output/octresnet50/config.yaml
python tools/eval.py -c configs/octresnet50.yaml -o Global.pretrained_model=output/octresnet50/last
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli, processes


def main() -> None:
    parser = cli.config_parser(__doc__)
    parser.add_argument("--data", metavar="PATH", help="other labelled images: a folder of CLASS/*, or a list file")
    parser.add_argument(
        "--predictions", metavar="CSV", help="write the label, prediction and probability of every image"
    )
    parser.add_argument("--per-class", action="store_true", help="also precision, recall and F1 of every class")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON only")
    args = parser.parse_args()
    if args.json:
        cli.log_to_stderr()
    setup = load_setup(args.config, args.override)
    predictions = args.predictions and cli.new_file(args.predictions, "--predictions")
    cli.import_paddle(several=True)
    from tabulate import tabulate

    from ppcls_lite.engine.evaluate import score
    from ppcls_lite.runs.trained import choose_weights

    weights = choose_weights(setup.config, args.config, args.override)
    results = score(setup, weights, args.data, predictions, args.per_class)
    if processes.rank() != 0:
        return
    if args.json:
        print(json.dumps({"weights": str(weights), **results}, indent=2))
        return
    print(f"weights  {weights}")
    heads = getattr(setup.task, "tasks", {})
    for part, found in results.items():
        seconds = f"{found['images']} images, {found['seconds']:.0f} s"
        print(f"{part:<8} {describe(setup.task, found)}  ({seconds})")
        for head, task in heads.items():
            print(f"  {head:<6} {describe(task, found, f'{head}_')}")
        for prefix in ("", *(f"{head}_" for head in heads)) if args.per_class else ():
            if f"{prefix}classes" in found:
                means = {name: found[f"{prefix}macro_{name}"] for name in ("precision", "recall", "f1")}
                mean = {"class": "macro mean", **means, "support": found["images"]}
                if prefix:
                    print(f"\n{prefix.removesuffix('_')}")
                rows = [*found[f"{prefix}classes"], mean]
                print(tabulate(rows, headers="keys", floatfmt=".4f", disable_numparse=[0]))
    if predictions:
        print(f"wrote    {predictions}")


def describe(task, found, prefix="") -> str:
    """One line of a task's scores, without those of its heads."""
    heads = tuple(f"{head}_" for head in getattr(task, "tasks", ()))
    shown = [one for one in task.metrics if one.name != "loss" and not one.name.startswith(heads)]
    return "  ".join([*(one.show(found[prefix + one.name]) for one in shown), f"loss {found[f'{prefix}loss']:.4f}"])


if __name__ == "__main__":
    cli.run(main)
