"""A network's graph for VisualDL's graph page."""

import contextlib
import io
import tempfile
from pathlib import Path

import paddle
from visualdl import LogWriter

from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.files import replacing

GRAPH = "vdlgraph.model.log"


def write_graph(setup: Setup, folder: Path) -> Path:
    """Write the graph of the network into ``folder``.

    A process with Paddle 3 must have begun with FLAGS_enable_pir_api=0.

    Raises:
        TrainingError: this Paddle or VisualDL cannot write it.
    """
    network, size = build_network(setup, prepares=False), setup.input_size
    network.eval()
    # The page shows the class, which a plain network shares with its octave twin.
    network.__class__ = type(setup.config.Arch["name"], (type(network),), {})
    images = paddle.static.InputSpec([None, setup.channels, size, size], "float32", "images")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        # It opens a record file, too, which must not come to lie beside the run's, and prints what it raises.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                with LogWriter(logdir=scratch) as writer:
                    writer.add_graph(network, [images])
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise TrainingError(
                    f"VisualDL cannot write this graph with paddle {paddle.__version__}: {reason}"
                ) from None
        (written,) = Path(scratch).glob("vdlgraph.*")
        with replacing(folder / GRAPH) as temporary:
            temporary.write_bytes(written.read_bytes())
    return folder / GRAPH
