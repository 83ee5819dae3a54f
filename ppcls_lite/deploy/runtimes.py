"""The runtimes that compute an exported network: Paddle Inference, ONNX Runtime, OpenVINO; and the network itself."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import paddle

from ppcls_lite.utils.device import on_gpu, synchronize
from ppcls_lite.utils.errors import UserError

Runtime = Callable[[np.ndarray], np.ndarray]  # float32 [N, C, H, W] -> float32 logits [N, classes]

BACKENDS = ("eager", "paddle", "onnxruntime", "openvino")
PROGRAM, PARAMETERS, ONNX = ".pdmodel", ".pdiparams", ".onnx"


def eager(network: paddle.nn.Layer) -> Runtime:
    """A network in evaluation mode, on paddle's current device."""
    network.eval()

    def run(images: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            logits = network(paddle.to_tensor(images))
        synchronize()
        return logits.numpy()

    return run


def open_paddle(prefix: Path, threads: int) -> Runtime:
    """PREFIX.pdmodel in Paddle Inference: on the CPU with oneDNN, or on the GPU where that is paddle's current device.

    Args:
        prefix: files that are whole; Paddle crashes on damaged ones.
        threads: of the CPU; OMP_NUM_THREADS bounds them from when paddle was imported.
    """
    from paddle import inference

    config = inference.Config(f"{prefix}{PROGRAM}", f"{prefix}{PARAMETERS}")
    if on_gpu():
        config.enable_use_gpu(256, 0)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(threads)
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(10)  # batch sizes whose primitives are kept
        if b"nearest_interp" in Path(f"{prefix}{PROGRAM}").read_bytes():
            # The pass finds little to fuse in an octave network, and searches Oct-ResNet-101 for a minute.
            for name in ("onednn", "mkldnn"):  # by Paddle version
                config.delete_pass(f"conv_elementwise_add_{name}_fuse_pass")
    config.enable_memory_optim()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    target = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(images: np.ndarray) -> np.ndarray:
        source.copy_from_cpu(np.ascontiguousarray(images))
        predictor.run()
        return target.copy_to_cpu()

    return run


def onnxruntime_session(file: Path, threads: int, profile: str | None = None) -> Any:
    """An .onnx file's session in ONNX Runtime on the CPU.

    Args:
        profile: the prefix of the file that gets its profile; None for none.

    Raises:
        UserError: ONNX Runtime is not installed.
    """
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def openvino_request(file: Path, threads: int, profile: bool = False) -> Any:
    """An .onnx file compiled by OpenVINO for the CPU, with 32-bit floats.

    Raises:
        UserError: OpenVINO is not installed.
    """
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # by default bfloat16 where the processor has it
        "PERF_COUNT": profile,
    }
    return import_extra("openvino").Core().compile_model(str(file), "CPU", settings).create_infer_request()


def open_runtime(path: Path, backend: str, threads: int) -> Runtime:
    """An exported network in a runtime, on the CPU but for ``paddle``.

    Args:
        path: an .onnx file, or the prefix of a Paddle model.
        backend: ``paddle``, ``onnxruntime`` or ``openvino``.
        threads: of the CPU.

    Returns:
        What computes it; raises a UserError where the runtime does not take the images.

    Raises:
        UserError: the runtime is not installed, or cannot read the file.
    """

    def open_it() -> Runtime:
        if backend == "paddle":
            return open_paddle(path, threads)
        if backend == "onnxruntime":
            session = onnxruntime_session(path, threads)
            name = session.get_inputs()[0].name
            return lambda images: session.run(None, {name: images})[0]
        request = openvino_request(path, threads)
        return lambda images: next(iter(request.infer({0: images}).values())).copy()

    def explain(action: Callable[[], Any], what: str) -> Any:
        try:
            return action()
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime's have no common class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path} cannot be {what} by {backend} ({reason}); export the network again") from None

    compute = explain(open_it, "opened")
    return lambda images: explain(lambda: compute(images), "computed")


def import_extra(name: str) -> ModuleType:
    """A package of requirements-deploy.txt.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        source = "requirements-deploy.txt" if name != "openvino" else "openvino"
        flag = "-r " if name != "openvino" else ""
        raise UserError(f"this needs {name}, which does not import ({error}); pip install {flag}{source}") from None
