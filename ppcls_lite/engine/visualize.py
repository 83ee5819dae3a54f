"""Pictures of trained networks: PNG files, and the same for VisualDL."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.image
import numpy as np
import paddle
from matplotlib.figure import Figure

from ppcls_lite.data import Dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.pictures import connectivity, frequency
from ppcls_lite.pictures.plots import draw_filters
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.trained import choose_weights, load_trained
from ppcls_lite.tasks.network import resize
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network by its configuration, and the file and settings that name its weights."""

    setup: Setup
    file: str
    overrides: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.setup.config.Global.name

    def load(self):
        """The network with its weights, whose file is told.

        Raises:
            UserError: no weights, or weights that do not fit.
        """
        weights = choose_weights(self.setup.config, self.file, self.overrides)
        logger.info("%s: %s", self.name, weights)
        return load_trained(self.setup, weights)


def connectivity_picture(trained: Sequence[Trained]) -> tuple[Figure, list[dict[str, str]]]:
    """The networks' connectivity maps, and what they say in figures: a row for each network, variant and block."""
    names = [one.name for one in trained]
    if len(set(names)) < len(names):  # seeds of one network
        names = [str(Path(one.file).parent) for one in trained]
    maps, rows = [], []
    for name, one in zip(names, trained, strict=True):
        network = one.load()
        maps.append({variant: connectivity.connectivity(network, variant) for variant in connectivity.VARIANTS})
        for variant, blocks in maps[-1].items():
            for i, strengths in enumerate(blocks, 1):
                inside, after = (f"{value:.2f}" for value in connectivity.summarize(strengths))
                found = {"layers": inside.replace("nan", "one source"), "what follows": after}
                rows.append({"network": name, "weights": variant, "block": str(i), **found})
    return connectivity.draw_connectivity(names, maps), rows


def choose_image(file: str | None, index: int | None, load: Callable[[], Dataset]) -> np.ndarray:
    """An image file, or the test image by its index of the data set that ``load`` reads, as uint8 [C, H, W].

    Raises:
        UserError: no such image.
    """
    if file is not None:
        return load_image(file)
    dataset = load()
    images = dataset.parts["test" if "test" in dataset.parts else "train"].images
    if index >= len(images):
        raise UserError(f"--index is {index}, but {dataset.spec.name} has test images 0 to {len(images) - 1}")
    (pixels, _), *_ = images.read([np.array([index])])
    return pixels[0]


def stages_picture(trained: Trained, file: str | None, image: np.ndarray) -> tuple[Figure, list[dict[str, str]]]:
    """What an octave network's branches make of an image, and its figures: a row for each octave stage.

    Args:
        file: of the image, which is resized and cut to the network's input; None where it is the data set's.
        image: uint8 [C, H, W].

    Raises:
        UserError: no octave network, or no weights.
    """
    setup = trained.setup
    if file is not None:
        image = load_image(file, setup.channels, setup.input_size)
    pixels = paddle.to_tensor(setup.normalization(image[None]))
    stages = frequency.octave_stages(trained.load(), resize(pixels, setup.input_size))
    rows = [
        {
            "stage": str(stage.number),
            "low channels": f"{len(stage.low)} of {len(stage.low) + len(stage.high)}",
            "low energy": f"{stage.low_share():.1%}",
            "low variance": f"{stage.low_share(varying=True):.1%}",
        }
        for stage in stages
    ]
    return frequency.draw_stages(stages, trained.name), rows


def filters_picture(trained: Trained) -> np.ndarray:
    """The filters of the network's first convolution, uint8 [H, W, 3]."""
    return draw_filters(trained.load())


def write_picture(picture: np.ndarray | Figure, file: Path) -> None:
    """Write a picture as PNG to ``file``, and for VisualDL to ``vdl/NAME`` beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Figure):
        picture.savefig(file, format="png", dpi=110)
    else:
        matplotlib.image.imsave(file, picture, format="png")
    dashboard = Dashboard(file.parent / "vdl" / file.stem, [], file.stem)
    dashboard.add_picture(file.stem, picture)
    dashboard.close()
