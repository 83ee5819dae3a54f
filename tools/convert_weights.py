"""Convert weights of other projects to ours.

python tools/convert_weights.py resnet50-0676ba61.pth --model resnet50 --output weights/resnet50.safetensors
python tools/convert_weights.py oct_resnet50.safetensors --model oct_resnet50 --output weights/oct_resnet50.pdparams
python tools/convert_weights.py backbone.tflite head.tflite --model mobilenet_v1 --output weights/mobilenet.safetensors

CHECKPOINT is from d-li14/octconv.pytorch (oct_*), stigma0617/VoVNet.pytorch (vovnet*), torchvision (resnet50 to 152,
densenet*), akamaster/pytorch_resnet_cifar10 (resnet20, resnet56), a TFLite file of mobilenet_v1, of any width, or a
.pdparams file of the blog article (oct_*). Only TFLite takes several, where a network is in several files: the first
layers first. TFLite files and those of PyTorch, which have any other suffix than .safetensors and .pdparams, need
pip install -r requirements-convert.txt; code in them is not run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.arch import model_options
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError

SUFFIXES = (".safetensors", ".pdparams")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="file to read")
    parser.add_argument("--model", required=True, metavar="NAME", help="the network, a name of tools/summary.py --list")
    parser.add_argument("--output", required=True, metavar="PATH", help="file to write: .safetensors or .pdparams")
    parser.add_argument(
        "--to", choices=("safetensors", "pdparams"), help="its format (default: from the suffix of --output)"
    )
    args = parser.parse_args()
    model_options(args.model)
    output = cli.new_file(choose_output(Path(args.output), args.to), "--output")
    cli.import_paddle()
    from ppcls_lite.weights.convert import convert
    from ppcls_lite.weights.load import write_weights

    converted = convert(args.checkpoints, args.model)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_weights(converted.weights, output)
    count = sum(array.size for array in converted.weights.values())
    print(f"read     {', '.join(args.checkpoints)}, names of {converted.source}")
    print(f"fits     {args.model}: {len(converted.weights)} arrays, {count:,} values")
    print(f"wrote    {output} ({output.stat().st_size / 2**20:.1f} MiB)")
    options = "".join(f", {key}: {str(value).lower()}" for key, value in converted.options.items())
    print(f"use      Arch: {{name: {args.model}{options}}}")
    print(f"         -o Global.pretrained_model={output}")


def choose_output(path: Path, to: str | None) -> Path:
    if to is None:
        if path.suffix not in SUFFIXES:
            raise UserError(
                f"--output is {path}, expected a name that ends in {' or '.join(SUFFIXES)}; rename it or give --to"
            )
        return path
    if path.suffix in SUFFIXES and path.suffix != f".{to}":
        raise UserError(f"--output is {path}, but --to is {to}; change one of them")
    return path if path.suffix == f".{to}" else Path(f"{path}.{to}")


if __name__ == "__main__":
    cli.run(main)
