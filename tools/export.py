"""Export a trained network for inference, with folded batch norm and with its metadata.

python tools/export.py -c output/octresnet50/config.yaml --format onnx --output octresnet50.onnx
python tools/export.py -c output/octresnet50/config.yaml --format paddle --output export/octresnet50
python tools/export.py -c configs/octresnet50.yaml --format onnx --output speed.onnx --random-weights
python tools/export.py -c output/octresnet50/config.yaml --format onnx --output small.onnx --quantize int8

onnx writes the file --output for ONNX Runtime and OpenVINO (pip install -r requirements-deploy.txt).
paddle writes PREFIX.pdmodel, PREFIX.pdiparams and PREFIX.meta.json for Paddle Inference.
The exported network is kept only if its outputs match those of the original. tools/predict.py runs it.
--quantize int8 writes 8-bit weights and activations, calibrated on training images. Both the 32-bit and the 8-bit
network are scored on the validation images (or the test images, if there are none); the 8-bit file is kept only if its
score is at most --max-drop worse.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.arch.registry import check_input_size
from ppcls_lite.config.options import NonNegativeFloat, Positive, coerce
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError


def main() -> None:
    args = parse()
    setup = load_setup(args.config, args.override)
    config, size = setup.config, setup.input_size
    if args.image_size is not None and not setup.spec.has_images:
        raise UserError("--image-size is given, but the network takes a table without images; leave it out")
    if args.image_size is not None:
        size = coerce(args.image_size, Positive, "--image-size")
        check_input_size(config.Arch["name"], size, "--image-size")
    batch = parse_batch(args.batch_size)
    output = check_output(Path(args.output), args.format)
    check_quantization(args)
    cli.import_paddle(quiet=True)
    import paddle

    from ppcls_lite.deploy.export import check_format, export, randomize_batch_norm
    from ppcls_lite.engine.quantized import Quantization, export_quantized
    from ppcls_lite.runs.trained import choose_weights, describe_network, load_trained
    from ppcls_lite.tasks.network import build_network

    paddle.set_device("cpu")
    check_format(args.format)
    if args.random_weights:
        weights, network = "random", build_network(setup, prepares=False)
        metadata = describe_network(setup, weights, size)
        randomize_batch_norm(network, size, metadata.channels)
    else:
        try:
            weights = choose_weights(config, args.config, args.override)
        except UserError as error:
            raise UserError(f"{error}; to measure speed only, add --random-weights") from None
        network = load_trained(setup, weights, prepares=False)
        metadata = describe_network(setup, str(weights), size)
    shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in metadata.input_shapes.items())
    print(f"network     {config.Arch['name']}, {shapes}, batch {batch or 'of any size'}")
    print(f"weights     {weights}")
    if args.quantize:
        how = Quantization(
            args.calibration_images or 128, 1.0 if args.max_drop is None else args.max_drop, args.runtime
        )
        done, scores = export_quantized(setup, network, metadata, output, batch, how)
        print(f"8 bits      {scores}")
    else:
        done = export(network, metadata, args.format, output, batch)
    print(f"checked     on random inputs: largest difference {done.difference:.1e} of the largest output")
    for file in done.files:
        print(f"wrote       {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    takes_image = list(metadata.input_shapes) == ["images"] and (
        metadata.columns is None or len(metadata.columns.images) == 1
    )
    print(f"predict     python tools/predict.py {output} {'IMAGE_OR_FOLDER...' if takes_image else 'ROWS.csv'}")


def parse():
    parser = cli.config_parser(__doc__)
    parser.add_argument("--format", required=True, choices=("paddle", "onnx"), help="format of the exported network")
    parser.add_argument("--output", required=True, metavar="PATH", help="file for onnx, prefix of files for paddle")
    parser.add_argument("--image-size", type=int, metavar="N", help="side in pixels (default: as configured)")
    parser.add_argument("--batch-size", default="dynamic", metavar="N", help="fixed batch size (default: dynamic)")
    parser.add_argument("--random-weights", action="store_true", help="untrained weights, to measure speed only")
    parser.add_argument("--quantize", choices=("int8",), help="8-bit weights and activations, for onnx")
    images = "training images that determine the ranges of activations (default 128)"
    parser.add_argument("--calibration-images", type=int, metavar="N", help=images)
    drop = "largest loss of the main metric by --quantize, in points for accuracies, else in percent (default 1.0)"
    parser.add_argument("--max-drop", type=float, metavar="X", help=drop)
    only = "make the 8-bit file faster in ONNX Runtime, and slower in others"
    parser.add_argument("--runtime", choices=("onnxruntime",), help=only)
    return parser.parse_args()


def check_quantization(args) -> None:
    """Check the options that belong to --quantize."""
    options = {"--calibration-images": Positive, "--max-drop": NonNegativeFloat, "--runtime": str}
    for option, kind in options.items():
        value = getattr(args, option[2:].replace("-", "_"))
        if value is not None:
            if not args.quantize:
                raise UserError(f"{option} belongs to --quantize int8; add it, or leave out {option}")
            coerce(value, kind, option)
    if args.quantize and args.format != "onnx":
        raise UserError(f"--quantize int8 writes ONNX files; use --format onnx instead of {args.format}")


def parse_batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    return coerce(int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text, Positive, "--batch-size")


def check_output(path: Path, form: str) -> Path:
    """The output path; none of the files to write exists."""
    if form == "onnx":
        if path.suffix != ".onnx":
            raise UserError(f"--output is {path}, expected a name that ends in .onnx with --format onnx")
        return cli.new_file(path, "--output")
    if path.name in ("", "..") or path.is_dir():
        raise UserError(f"--output is {path}, expected a prefix of files such as {path / 'network'}")
    for suffix in (".pdmodel", ".pdiparams", ".meta.json"):
        cli.new_file(f"{path}{suffix}", "--output")
    return path


if __name__ == "__main__":
    cli.run(main)
