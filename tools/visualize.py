"""Draw pictures of trained networks, as PNG files and for VisualDL.

  python tools/visualize.py connectivity -c output/cifar_densenet40/config.yaml output/cifar_osa40_5x43/config.yaml
  python tools/visualize.py frequency --image cat.jpg
  python tools/visualize.py frequency -c output/cifar_octresnet20/config.yaml --index 7
  python tools/visualize.py gradcam -c output/octresnet50/config.yaml --images cat.jpg dog.jpg
  python tools/visualize.py filters -c output/alexnet_fashion_mnist/config.yaml

connectivity: which earlier layers each layer uses, in the blocks of DenseNet-40 or its one-shot aggregation version.
frequency: the low and high frequencies of an image, and with -c the features of an octave network's branches.
gradcam: where a network looked in images (Grad-CAM, arXiv:1610.02391), for octave networks also by branch.
filters: the filters of the first layer.
With the config.yaml of a run, the run's weights are used; -o Global.pretrained_model=PATH gives others.
"""

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_lite.config.options import NonNegative, Range, coerce
from ppcls_lite.data import DATASETS, load_dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError


def main() -> None:
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    maps = commands.add_parser("connectivity", help="mean weights between the layers of a block")
    maps.add_argument("-c", "--config", nargs="+", required=True, metavar="CONFIG", help="trained networks to compare")
    split = commands.add_parser("frequency", help="low and high frequencies of an image and of octave features")
    split.add_argument("-c", "--config", metavar="CONFIG", help="a trained octave network")
    split.add_argument("--image", metavar="FILE", help="an image file")
    split.add_argument("--index", type=int, help="a test image of the data set of -c, or of --dataset")
    split.add_argument("--dataset", choices=DATASETS.names(), help="data set of --index without -c")
    split.add_argument("--octaves", type=int, default=1, help="number of octaves to split off (default 1)")
    cams = commands.add_parser("gradcam", help="where a network looked in images")
    cams.add_argument("-c", "--config", required=True, metavar="CONFIG", help="a trained network")
    source = cams.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", nargs="+", metavar="FILE_OR_FOLDER", help="image files, or folders of them")
    source.add_argument("--index", type=int, help="a test image of the data set")
    explained = "class to explain, of several heads HEAD.CLASS (default: the prediction)"
    cams.add_argument("--class", dest="class_name", metavar="NAME", help=explained)
    filters = commands.add_parser("filters", help="the first layer's filters")
    filters.add_argument("-c", "--config", required=True, metavar="CONFIG", help="a trained network")
    for command, draw in (
        (maps, connectivity),
        (split, frequency),
        (cams, gradcam),
        (filters, first_filters),
    ):
        cli.add_overrides(command, "settings that replace the file's, such as Global.pretrained_model=PATH")
        command.add_argument("--output", default="output/visualize", help="folder (default output/visualize)")
        command.set_defaults(draw=draw)
    args = parser.parse_args()
    args.draw(args)


def connectivity(args) -> None:
    loaded = [load_setup(path, args.override) for path in args.config]
    file = new_picture(args, "connectivity")
    visualize = prepare(loaded[0].config.Global.device)
    trained = [visualize.Trained(*pair, args.override) for pair in zip(loaded, args.config, strict=True)]
    picture, rows = visualize.connectivity_picture(trained)
    print("mean strength of sources other than the nearest, relative to the largest of the column")
    show({file: picture}, rows)


def frequency(args) -> None:
    coerce(args.octaves, Annotated[int, Range(low=1, high=12)], "--octaves")
    setup = load_setup(args.config, args.override) if args.config else None
    config = setup and setup.config
    if (args.image is None) == (args.index is None):
        raise UserError("give one of --image FILE and --index NUMBER")
    if args.index is not None:
        coerce(args.index, NonNegative, "--index")
        if (config is None) == (args.dataset is None):
            raise UserError("--index needs a data set; give one of -c CONFIG and --dataset NAME")
    elif args.dataset:
        raise UserError("--dataset is for --index, but --image was given; remove one of them")
    if args.override and not config:
        raise UserError("-o changes a configuration, but none was given; add -c CONFIG")
    dataset = config.DataLoader.dataset if config else args.dataset
    name = Path(args.image).stem if args.image else f"{dataset}_{args.index}"
    name += f"_{config.Global.name}" if config else ""
    # VisualDL cuts long names at the end, so the part that differs comes first.
    split_file, stages_file = new_picture(args, f"frequency_{name}"), config and new_picture(args, f"stages_{name}")
    visualize = prepare(config.Global.device if config else "cpu")
    from ppcls_lite.pictures.frequency import draw_split

    if setup:
        visualize.require_images(setup)
    if args.image:
        image = load_image(args.image)
    elif setup:
        image, _ = visualize.choose_sample(setup, args.index)
    else:
        parts = load_dataset(dataset).parts
        image = visualize.read_image(parts["test" if "test" in parts else "train"], args.index, dataset)
    pictures, rows = {split_file: draw_split(image.astype("float32") / 255, args.octaves)}, []
    if config:
        trained = visualize.Trained(setup, args.config, args.override)
        pictures[stages_file], rows = visualize.stages_picture(trained, args.image, image)
    show(pictures, rows)


def gradcam(args) -> None:
    if args.index is not None:
        coerce(args.index, NonNegative, "--index")
    setup = load_setup(args.config, args.override)
    name = Path(args.images[0]).resolve().stem if args.images else f"{setup.config.DataLoader.dataset}_{args.index}"
    file = new_picture(args, f"gradcam_{name}_{setup.config.Global.name}")
    visualize = prepare(setup.config.Global.device)
    if args.images:
        images, table = visualize.read_images(setup, args.images), None
    else:
        image, table = visualize.choose_sample(setup, args.index)
        images = [(f"test image {args.index}", image)]
    trained = visualize.Trained(setup, args.config, args.override)
    picture, rows = visualize.gradcam_picture(trained, images, args.class_name, table)
    show({file: picture}, rows)


def first_filters(args) -> None:
    setup = load_setup(args.config, args.override)
    file = new_picture(args, f"filters_{setup.config.Global.name}")
    visualize = prepare(setup.config.Global.device)
    show({file: visualize.filters_picture(visualize.Trained(setup, args.config, args.override))}, [])


def new_picture(args, name) -> Path:
    """The file of a picture; neither the file nor its VisualDL records exist."""
    cli.new_file(Path(args.output) / "vdl" / name, "--output")
    return cli.new_file(Path(args.output) / f"{name}.png", "--output")


def prepare(device):
    """Choose the device and return the module that draws."""
    cli.import_paddle()
    from ppcls_lite.engine import visualize
    from ppcls_lite.utils.device import select_device

    select_device(device)
    return visualize


def show(pictures, rows) -> None:
    from tabulate import tabulate

    from ppcls_lite.engine.visualize import write_picture

    if rows:
        print(tabulate(rows, headers="keys", disable_numparse=True))
    for file, picture in pictures.items():
        write_picture(picture, file)
        print(f"wrote {file}")
    print(f"dashboard: visualdl --logdir {file.parent / 'vdl'} --host 127.0.0.1")


if __name__ == "__main__":
    cli.run(main)
