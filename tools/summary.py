"""Print a network's layers, parameters and multiply-adds (of convolutions and fully connected layers, as in papers).

python tools/summary.py -c configs/octresnet50.yaml
python tools/summary.py -c configs/octresnet50.yaml --json
python tools/summary.py -c configs/octresnet50.yaml --graph output/octresnet50/vdl
python tools/summary.py --list

--graph writes the network's graph for VisualDL's graph page.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.arch import list_models, model_options
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError


def main() -> None:
    parser = cli.config_parser(__doc__, required=False)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--graph", metavar="FOLDER", help="write the graph for VisualDL to FOLDER")
    parser.add_argument("--list", action="store_true", help="print the models and their options")
    args = parser.parse_args()
    if args.list:
        for name in list_models():
            print(f"{name:<16} {' '.join(f'{k}={o.default}' for k, o in model_options(name).items())}")
        return
    if not args.config:
        raise UserError("there is no configuration; give one with -c CONFIG, or --list the models")
    setup = load_setup(args.config, args.override)
    if args.graph:
        write_graph(setup, Path(args.graph))
        return
    cli.import_paddle()
    from ppcls_lite.measure.complexity import profile_layers
    from ppcls_lite.tasks.network import build_network

    layers = profile_layers(build_network(setup), setup.input_size, setup.channels)
    total = {"params": sum(layer.params for layer in layers), "macs": sum(layer.macs for layer in layers)}
    if args.json:
        facts = {"arch": setup.config.Arch, "image_size": setup.input_size or None, **total}
        print(json.dumps({**facts, "layers": [asdict(layer) for layer in layers]}, indent=2))
        return
    width = max(len(layer.name) for layer in layers)
    print(f"{'layer':<{width}}  {'kind':<12} {'output':<20} {'params':>12} {'multiply-adds':>16}")
    for layer in layers:
        shape = "x".join(map(str, layer.output_shape[1:]))
        print(f"{layer.name:<{width}}  {layer.kind:<12} {shape:<20} {layer.params:>12,} {layer.macs:>16,}")
    costs = f"{total['params']:,} parameters, {total['macs']:,} multiply-adds"
    print(f"{setup.config.Arch['name']}{setup.at_size}: {costs}")


def write_graph(setup, folder: Path) -> None:
    # VisualDL reads the program format of Paddle 2, which Paddle 3 writes only if this is set before the import.
    os.environ.update(FLAGS_enable_pir_api="0")
    cli.import_paddle()
    from ppcls_lite.engine import visualize

    print(f"wrote {visualize.write_graph(setup, folder)}")


if __name__ == "__main__":
    cli.run(main)
