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
    for part, found in results.items():
        scores = "  ".join(metric.show(found[metric.name]) for metric in setup.task.metrics)
        print(f"{part:<8} {scores}  loss {found['loss']:.4f}  ({found['images']} images, {found['seconds']:.0f} s)")
        if args.per_class:
            means = {name: found[f"macro_{name}"] for name in ("precision", "recall", "f1")}
            mean = {"class": "macro mean", **means, "support": found["images"]}
            print(tabulate([*found["classes"], mean], headers="keys", floatfmt=".4f", disable_numparse=[0]))
    if predictions:
        print(f"wrote    {predictions}")


if __name__ == "__main__":
    cli.run(main)
