"""Predict the classes, or other targets, of images.

python tools/predict.py output/octresnet50 cat.jpg dog.png
python tools/predict.py octresnet50.onnx photos/ --batch-size 16 --json
python tools/predict.py octresnet50.onnx cat.jpg --backend openvino
python tools/predict.py export/octresnet50 cat.jpg
python tools/predict.py weights.pdparams -c configs/octresnet50.yaml cat.jpg

MODEL is an .onnx file or the prefix of a Paddle model (see tools/export.py), a run folder, a checkpoint folder or a
weights file. Images are resized by their shorter side and cropped to the centre; unreadable files are reported and
skipped. --csv and --contact-sheet write a table and a picture of all predictions.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.config.options import Positive, Threads, coerce
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import write_csv
from ppcls_lite.utils.resources import count_cores

BACKENDS = ("eager", "paddle", "onnxruntime", "openvino")


def main() -> None:
    args = parse()
    for name, kind in (("batch_size", Positive), ("top", Positive), ("threads", Threads)):
        coerce(getattr(args, name), kind, f"--{name.replace('_', '-')}")
    table = args.csv and cli.new_file(args.csv, "--csv")
    sheet = args.contact_sheet and cli.new_file(args.contact_sheet, "--contact-sheet")
    cli.log_to_stderr()
    cli.import_paddle(threads=args.threads, quiet=True)
    from tqdm import tqdm

    from ppcls_lite.deploy.opening import open_predictor
    from ppcls_lite.deploy.predictor import Prediction, list_images

    files = list_images(args.images)
    predictor = open_predictor(args.model, args.config, args.backend, args.device, args.threads, args.precision)
    found, skipped = [], []
    with tqdm(total=len(files), unit="image", disable=len(files) <= args.batch_size or None) as progress:
        for one in predictor.predict_files(files, args.batch_size):
            progress.update()
            if isinstance(one, Prediction):
                found.append(one)
                if not args.json:
                    progress.write(describe(one, args.top), file=sys.stdout)
            else:
                skipped.append(one)
                progress.write(f"skipped {one[1]}", file=sys.stderr)
    if not found:
        raise UserError("none of the files is a readable image; give JPEG or PNG files")
    if table:
        rows = [{"image": str(one.image), **predictor.task.row(one.values)} for one in found]
        table.parent.mkdir(parents=True, exist_ok=True)
        write_csv(table, list(rows[0]), rows)
    if sheet:
        from ppcls_lite.pictures.plots import draw_contact_sheet

        sheet.parent.mkdir(parents=True, exist_ok=True)
        captions = [(one.image, caption(predictor.task.row(one.values))) for one in found]
        draw_contact_sheet(captions).savefig(sheet, format="png")
    if args.json:
        print(json.dumps(as_tree(predictor.metadata, found, skipped, args.top), indent=2))


def parse():
    parser = cli.parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="exported network, run folder, checkpoint folder or weights")
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="JPEG, PNG; folders, with subfolders")
    parser.add_argument("-c", "--config", metavar="CONFIG", help="for weights outside of a run folder")
    parser.add_argument("--backend", choices=BACKENDS, help="runtime (default: depends on MODEL)")
    parser.add_argument("--device", choices=("auto", "gpu", "cpu"), default="auto", help="(default auto)")
    half = "of an .onnx file with --device gpu (default float32)"
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32", help=half)
    threads = "CPU threads (default: number of cores)"
    parser.add_argument("--threads", type=int, default=count_cores(), metavar="N", help=threads)
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images per batch (default 16)")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes per image (default 5)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write a table: image, prediction, probability")
    parser.add_argument("--contact-sheet", metavar="PNG", help="write a picture of the images with their predictions")
    return parser.parse_args()


def describe(one, most: int) -> str:
    if "top" in one.values:
        shown = [f"{best['name']} {best['probability']:.1%}" for best in one.values["top"][:most]]
    else:
        shown = [f"{name} {value:.4g}" for name, value in one.values.items()]
    return "  ".join([str(one.image), *shown])


def caption(row: dict) -> str:
    prediction = row["prediction"]
    shown = prediction if isinstance(prediction, str) else f"{prediction:.4g}"
    return f"{shown} {row['probability']:.1%}" if "probability" in row else shown


def as_tree(metadata, found, skipped, most: int) -> dict:
    images = [
        {"image": str(one.image)} | {key: v[:most] if key == "top" else v for key, v in one.values.items()}
        for one in found
    ]
    return {
        "model": metadata.to_dict(),
        "images": images,
        "skipped": [{"file": str(file), "reason": reason} for file, reason in skipped],
    }


if __name__ == "__main__":
    cli.run(main)
