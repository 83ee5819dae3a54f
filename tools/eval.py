"""Score trained weights on the test images (and the validation images, where the configuration sets some aside).

python tools/eval.py -c output/octresnet50/config.yaml
python tools/eval.py -c configs/octresnet50.yaml -o Global.pretrained_model=output/octresnet50/last
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite import cli, processes


def main() -> None:
    parser = cli.config_parser(__doc__)
    parser.add_argument("--json", action="store_true", help="print the scores as JSON only")
    args = parser.parse_args()
    if args.json:
        cli.log_to_stderr()
    config = cli.load_config(args)
    cli.import_paddle(several=True)
    from ppcls_lite.engine.score import score
    from ppcls_lite.engine.trained import choose_weights

    results = score(config, choose_weights(config, args.config, args.override))
    if processes.rank() != 0:
        return
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"weights  {results['weights']}")
    for part in ("val", "test"):
        if part in results:
            s = results[part]
            print(
                f"{part:<8} top-1 {s['top1']:.4f}  top-5 {s['top5']:.4f}  loss {s['loss']:.4f}  "
                f"({s['images']} images, {s['seconds']:.0f} s)"
            )


if __name__ == "__main__":
    cli.run(main)
