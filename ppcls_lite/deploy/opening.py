"""``open_predictor``: whatever holds a trained network, ready to predict."""

import logging
from dataclasses import replace
from pathlib import Path

from ppcls_lite.config import load as configs
from ppcls_lite.deploy.exported import is_exported, prefix_of, read_metadata
from ppcls_lite.deploy.predictor import Predictor
from ppcls_lite.deploy.runtimes import ONNX, eager, open_runtime
from ppcls_lite.runs.run_dir import METADATA
from ppcls_lite.runs.trained import describe_network, load_network, load_trained, run_folders
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.device import select_device
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import find_weights

logger = logging.getLogger(__name__)


def open_predictor(
    path: str | Path,
    config_file: str | None,
    backend: str | None,
    device: str,
    threads: int,
    precision: str = "float32",
) -> Predictor:
    """A predictor from an exported network, or from a run folder, a checkpoint folder or a weights file.

    Args:
        path: an .onnx file, a Paddle model's prefix or one of its files, or what ``weights.find_weights`` takes.
        config_file: the configuration of weights; None for config.yaml of the run that they lie in.
        backend: one of ``deploy.runtimes.BACKENDS``; None for the one that fits.
        device: auto, gpu or cpu. With ``auto``, .onnx files run on the CPU; ``openvino`` always does.
        threads: of the CPU.
        precision: float32, or float16 for an .onnx file on a GPU.

    Raises:
        UserError: nothing that can be run there, or a backend or device that cannot run it.
    """
    path = Path(path)
    kind = ("onnxruntime", "openvino") if path.suffix == ONNX else ("paddle",) if is_exported(path) else ("eager",)
    backend = backend or kind[0]
    if backend not in kind:
        raise UserError(
            f"--backend is {backend}, but {path} is for {' or '.join(kind)}; tools/export.py makes the others"
        )
    if config_file and backend != "eager":
        raise UserError(f"-c belongs to weights, and {path} is an exported network with its own description")
    if device == "gpu" and backend == "openvino":
        raise UserError("--device is gpu, but openvino runs on the CPU here; take --backend onnxruntime")
    if precision != "float32" and (device != "gpu" or backend != "onnxruntime"):
        raise UserError(f"--precision {precision} is for .onnx files with --device gpu; leave it out")
    select_device("cpu" if path.suffix == ONNX else device, "--device")
    if backend == "eager":
        return _from_weights(path, config_file)
    place = path if path.suffix == ONNX else prefix_of(path)
    metadata = read_metadata(place)
    if metadata.weights == "random":
        logger.warning("warning: %s was exported with random weights: its predictions mean nothing", path)
    where = "gpu" if device == "gpu" and path.suffix == ONNX else "cpu"
    return Predictor(metadata, open_runtime(place, backend, threads, device=where, precision=precision))


def _from_weights(path: Path, config_file: str | None) -> Predictor:
    weights = find_weights(path)
    folders = [folder for folder in run_folders(weights) if (folder / "config.yaml").is_file()]
    if not config_file and not folders:
        raise UserError(f"{weights} lies in no run folder with a config.yaml; name its configuration with -c")
    described = None if config_file else folders[0] / METADATA
    if described is not None and described.is_file():  # needs no data set
        metadata = Metadata.from_json(described.read_text(), described)
        config, task = configs.load(folders[0] / "config.yaml"), metadata.restore_task()
        network = load_network(config, task, metadata.columns, weights)
        metadata = replace(metadata, weights=str(weights))
    else:
        setup = load_setup(config_file or folders[0] / "config.yaml")
        config, network = setup.config, load_trained(setup, weights, prepares=False)
        metadata = describe_network(setup, str(weights))
    logger.info("%s: %s", config.Global.name, weights)
    return Predictor(metadata, eager(network))
