"""Predict the classes, or other targets, of images or of a table's rows.

python tools/predict.py output/octresnet50 cat.jpg dog.png
python tools/predict.py octresnet50.onnx photos/ --batch-size 16 --json
python tools/predict.py octresnet50.onnx cat.jpg --backend openvino
python tools/predict.py export/octresnet50 cat.jpg
python tools/predict.py weights.pdparams -c configs/octresnet50.yaml cat.jpg
python tools/predict.py output/houses houses.csv --root houses/images.tar --csv prices.csv

MODEL is an .onnx file or the prefix of a Paddle model (see tools/export.py), a run folder, a checkpoint folder or a
weights file. Images are resized by their shorter side and cropped to the centre; unreadable files are reported and
skipped. A CSV file has the columns that the network takes, or a column "image" of image files. --csv and
--contact-sheet write a table and a picture of all predictions.
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

    table_in = Path(args.images[0]) if Path(args.images[0]).suffix.lower() == ".csv" else None
    if table_in is not None and len(args.images) > 1:
        raise UserError(f"{table_in} is given with {args.images[1]}; give one CSV file, or images and folders")
    if args.root and table_in is None:
        raise UserError("--root is for the images that a CSV file names; leave it out")
    files = [] if table_in else list_images(args.images)
    predictor = open_predictor(args.model, args.config, args.backend, args.device, args.threads, args.precision)
    found, skipped = [], []
    if table_in:
        predictions = predictor.predict_rows(table_in, args.root, args.batch_size)
    else:
        predictions = predictor.predict_files(files, args.batch_size)
    with tqdm(
        total=len(files) or None, unit="row" if table_in else "image", disable=len(files) <= args.batch_size or None
    ) as progress:
        for one in predictions:
            progress.update()
            if isinstance(one, Prediction):
                found.append(one)
                if not args.json:
                    progress.write(describe(one, args.top), file=sys.stdout)
            else:
                skipped.append(one)
                progress.write(f"skipped {one[1]}", file=sys.stderr)
    if not found:
        what = f"no row of {table_in} has readable images" if table_in else "none of the files is a readable image"
        raise UserError(f"{what}; give JPEG or PNG files")
    if table:
        rows = [one.row(predictor.task) for one in found]
        table.parent.mkdir(parents=True, exist_ok=True)
        write_csv(table, list(rows[0]), rows)
    if sheet:
        from ppcls_lite.pictures.plots import draw_contact_sheet

        sheet.parent.mkdir(parents=True, exist_ok=True)
        captions = [(one.image, caption(predictor.task.row(one.values))) for one in found if one.image is not None]
        if not captions:
            raise UserError("--contact-sheet is for networks of one image; leave it out")
        draw_contact_sheet(captions).savefig(sheet, format="png")
    if args.json:
        print(
            json.dumps(as_tree(predictor.metadata, found, skipped, args.top, "row" if table_in else "image"), indent=2)
        )


def parse():
    parser = cli.parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="exported network, run folder, checkpoint folder or weights")
    parser.add_argument("images", nargs="+", metavar="INPUT", help="images, folders with subfolders, or one CSV file")
    parser.add_argument(
        "--root", metavar="PATH", help="folder or tar of the images of a CSV file (default: its folder)"
    )
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
    parser.add_argument(
        "--csv", metavar="FILE", help="write a table: the image or all cells of the row, prediction, probability"
    )
    parser.add_argument("--contact-sheet", metavar="PNG", help="write a picture of the images with their predictions")
    return parser.parse_args()


def describe(one, most: int) -> str:
    return "  ".join([one.place, *describe_values(one.values, most)])


def describe_values(values: dict, most: int) -> list[str]:
    if "top" in values:
        return [f"{best['name']} {best['probability']:.1%}" for best in values["top"][:most]]
    if "labels" in values:
        likely = sorted(values["probabilities"].items(), key=lambda pair: -pair[1])[:most]
        return ["|".join(values["labels"]) or "(none)", *(f"{name} {value:.1%}" for name, value in likely)]
    shown = []
    for name, value in values.items():
        shown += [f"{name}:", *describe_values(value, most)] if isinstance(value, dict) else [f"{value:.4g}"]
    return shown


def caption(row: dict) -> str:
    prediction = row["prediction"]
    shown = prediction if isinstance(prediction, str) else f"{prediction:.4g}"
    return f"{shown} {row['probability']:.1%}" if "probability" in row else shown


def as_tree(metadata, found, skipped, most: int, what: str) -> dict:
    images = [{what: one.place} | shorten(one.values, most) for one in found]
    return {
        "model": metadata.to_dict(),
        "images": images,
        "skipped": [{"file": str(file), "reason": reason} for file, reason in skipped],
    }


def shorten(values: dict, most: int) -> dict:
    """``values`` with at most so many classes."""
    return {
        key: shorten(value, most) if isinstance(value, dict) else value[:most] if key == "top" else value
        for key, value in values.items()
    }


if __name__ == "__main__":
    cli.run(main)
