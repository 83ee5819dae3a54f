"""Pictures of networks as PNG files and for VisualDL, and graphs for VisualDL's graph page."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.image
import numpy as np
import paddle
from matplotlib.figure import Figure
from visualdl import LogWriter

from ppcls_lite.arch.tracing import trace_unrewritten
from ppcls_lite.data import Split, split_dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.deploy.predictor import list_images
from ppcls_lite.pictures import connectivity, frequency, gradcam
from ppcls_lite.pictures.plots import draw_filters
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.trained import choose_weights, describe_network, load_trained
from ppcls_lite.tasks.network import build_network, resize
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.files import replacing

logger = logging.getLogger(__name__)

MAX_IMAGES = 30  # of a picture of Grad-CAM
GRAPH = "vdlgraph.model.log"


@dataclass(frozen=True)
class Trained:
    """A configured network, and the configuration file and ``-o`` settings that name its weights."""

    setup: Setup
    file: str
    overrides: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.setup.config.Global.name

    def load(self):
        """Load the network with its weights and log their file.

        Raises:
            UserError: there are no weights, or they do not fit.
        """
        weights = choose_weights(self.setup.config, self.file, self.overrides)
        logger.info("%s: %s", self.name, weights)
        return load_trained(self.setup, weights)


def connectivity_picture(trained: Sequence[Trained]) -> tuple[Figure, list[dict[str, str]]]:
    """The networks' connectivity maps, and their numbers: a row for each network, variant and block."""
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


def choose_sample(setup: Setup, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A test sample: its image uint8 [C, H, W], and its row of the table float32 [width], if there is one.

    Raises:
        UserError: there is no such sample, or it has no image.
    """
    require_images(setup)
    *_, test = split_dataset(setup.config.DataLoader, setup.source.load(setup.reading), setup.balance)
    return read_image(test, index, setup.spec.name), None if test.table is None else test.table[index]


def read_image(split: Split, index: int, name: str) -> np.ndarray:
    """The image uint8 [C, H, W] at ``index`` of the test samples of the data set ``name``.

    Raises:
        UserError: there is no such image.
    """
    if index >= len(split):
        raise UserError(f"--index is {index}, but {name} has test images 0 to {len(split) - 1}")
    ((pixels, chosen),) = split.images.read([np.array([index])])
    if not len(chosen):
        raise UserError(f"--index is {index}, but {split.images.path(index)} is not a readable image; give another one")
    return pixels[0]


def require_images(setup: Setup) -> None:
    """Check that the network takes images.

    Raises:
        UserError: it takes a table alone.
    """
    if not setup.input_size:
        raise UserError(f"{setup.config.Global.name} takes a table without images, so there is nothing to draw")


def stages_picture(trained: Trained, file: str | None, image: np.ndarray) -> tuple[Figure, list[dict[str, str]]]:
    """The outputs of an octave network's branches for an image, and their numbers: a row for each octave stage.

    Args:
        file: the image file, which is resized and cropped to the network's input; None for the data set's ``image``.
        image: uint8 [C, H, W].

    Raises:
        UserError: the network has no octave stages or takes no images, or there are no weights.
    """
    setup = trained.setup
    require_images(setup)
    if file is not None:
        image = load_image(file, setup.channels, setup.input_size, setup.resize)
    stages = frequency.octave_stages(trained.load(), _network_input(setup, image))
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


def gradcam_picture(
    trained: Trained,
    images: Iterable[tuple[str, np.ndarray]],
    class_name: str | None,
    table: np.ndarray | None = None,
) -> tuple[Figure, list[dict[str, str]]]:
    """Where the network looked, by Grad-CAM, and its predictions: a row for each image.

    Args:
        images: names and pixels, uint8 [C, H, W].
        class_name: the class to explain; None for the prediction. The output of a regression is the number itself.
            Of several heads, HEAD.CLASS, or HEAD for its prediction; None for the prediction of the first head.
        table: float32 [width], the row of a network that takes one, beside all images.

    Raises:
        UserError: there is no such class, or there are no weights.
    """
    setup, network, explanations = trained.setup, trained.load(), []
    task, row = setup.task, None if table is None else paddle.to_tensor(table[None])
    for name, image in images:
        outputs, maps = gradcam.grad_cam(
            network, _network_input(setup, image), lambda values: task.explain(values, class_name)[0], row
        )
        enlarged = {key: gradcam.enlarge(values, *image.shape[1:]) for key, values in maps.items()}
        texts = (task.explain(outputs, one)[1] for one in (None, class_name))
        explanations.append(gradcam.Explanation(name, image, *texts, enlarged))
    rows = [{"image": one.name, "prediction": one.prediction, "explained": one.output} for one in explanations]
    return gradcam.draw_explanations(explanations, trained.name), rows


def read_images(setup: Setup, paths: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Image files, or those in folders, with their names, resized and cropped to the network's input.

    Unreadable files are reported and skipped.

    Raises:
        UserError: there is no readable image, there are too many files for one picture, or the network takes more than
            an image.
    """
    require_images(setup)
    fields = setup.spec.fields
    if fields is not None and (fields.width or len(fields.images) != 1):
        raise UserError(
            f"{setup.config.Global.name} takes rows of a table, not single images; give the number of a test row with "
            f"--index instead of --images"
        )
    files = list_images(paths)
    if len(files) > MAX_IMAGES:
        raise UserError(f"--images names {len(files)} files, but a picture has at most {MAX_IMAGES}; name fewer")
    images = []
    for file in files:
        try:
            pixels = load_image(file, setup.channels, setup.input_size, setup.resize)
        except UserError as error:
            logger.warning("skipped %s", error)
        else:
            images.append((file.name, pixels))
    if not images:
        raise UserError("none of the files is a readable image; give JPEG or PNG files")
    return images


def _network_input(setup: Setup, image: np.ndarray) -> paddle.Tensor:
    """An image uint8 [C, H, W] as the network takes it: normalized, [1, C, size, size]."""
    return resize(paddle.to_tensor(setup.normalization(image[None])), setup.input_size)


def filters_picture(trained: Trained) -> np.ndarray:
    """The filters of the network's first convolution, uint8 [H, W, 3]."""
    require_images(trained.setup)
    return draw_filters(trained.load())


def write_picture(picture: np.ndarray | Figure, file: Path) -> None:
    """Write a picture as PNG to ``file``, and for VisualDL to ``vdl/NAME`` in the same folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Figure):
        picture.savefig(file, format="png", dpi=110)
    else:
        matplotlib.image.imsave(file, picture, format="png")
    dashboard = Dashboard(file.parent / "vdl" / file.stem, [], file.stem)
    dashboard.add_picture(file.stem, picture)
    dashboard.close()


def write_graph(setup: Setup, folder: Path) -> Path:
    """Write the graph of a network into ``folder``.

    With Paddle 3, FLAGS_enable_pir_api=0 must be set before paddle is imported.

    Raises:
        TrainingError: this Paddle or VisualDL cannot write it.
    """
    network = build_network(setup, prepares=False)
    network.eval()
    trace_unrewritten(network)
    # The page shows the name of the class, which a plain network shares with its octave version.
    network.__class__ = type(setup.config.Arch["name"], (type(network),), {})
    shapes = describe_network(setup, "random").input_shapes
    specs = [paddle.static.InputSpec([None, *shape], "float32", name) for name, shape in shapes.items()]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        # LogWriter also creates a record file, which must not be next to the run's, and prints its errors.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                with LogWriter(logdir=scratch) as writer:
                    writer.add_graph(network, specs)
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise TrainingError(
                    f"VisualDL cannot write this graph with paddle {paddle.__version__}: {reason}"
                ) from None
        (written,) = Path(scratch).glob("vdlgraph.*")
        with replacing(folder / GRAPH) as temporary:
            temporary.write_bytes(written.read_bytes())
    return folder / GRAPH
