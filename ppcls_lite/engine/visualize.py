"""Pictures of trained networks: PNG files, and the same for VisualDL."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.image
import numpy as np
import paddle
from matplotlib.figure import Figure

from ppcls_lite.config import Config
from ppcls_lite.data import DATASETS, load_dataset
from ppcls_lite.data.image_file import read_image
from ppcls_lite.engine.dashboard import Dashboard
from ppcls_lite.engine.parts import resize
from ppcls_lite.engine.trained import choose_weights, load_trained
from ppcls_lite.errors import UserError
from ppcls_lite.measure import connectivity, frequency
from ppcls_lite.measure.pictures import draw_filters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network by its configuration, and the file and settings that name its weights."""

    config: Config
    file: str
    overrides: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.config.Global.name

    def load(self):
        """The network with its weights, whose file is told.

        Raises:
            UserError: no weights, or weights that do not fit.
        """
        weights = choose_weights(self.config, self.file, self.overrides)
        logger.info("%s: %s", self.name, weights)
        return load_trained(self.config, weights)


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


def load_image(file: str | None, index: int | None, dataset: str, root: str | None) -> np.ndarray:
    """An image file, or a data set's test image by its index, as float32 [C, H, W] in [0, 1].

    Raises:
        UserError: no such image.
    """
    if file is not None:
        return read_image(file)
    images = load_dataset(dataset, root).test.images
    if index >= len(images):
        raise UserError(f"--index is {index}, but {dataset} has test images 0 to {len(images) - 1}")
    return images[index].astype(np.float32) / 255


def stages_picture(trained: Trained, file: str | None, image: np.ndarray) -> tuple[Figure, list[dict[str, str]]]:
    """What an octave network's branches make of an image, and its figures: a row for each octave stage.

    Args:
        file: of the image, which is resized and cut to the network's input; None where it is the data set's.
        image: [C, H, W] in [0, 1].

    Raises:
        UserError: no octave network, or no weights.
    """
    config = trained.config
    info = DATASETS[config.DataLoader.dataset]
    if file is not None:
        image = read_image(file, info.channels, config.input_size)
    if config.DataLoader.normalize:
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (info.mean, info.std))
        image = (image - mean) / std
    network = trained.load()
    stages = frequency.octave_stages(network, resize(paddle.to_tensor(image[None]), config.input_size))
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
