"""What precisions and GPUs need of the installation, and ONNX files in ONNX Runtime on GPUs."""

from pathlib import Path
from typing import Any

from ppcls_lite.deploy.runtimes import Runtime, import_extra, run_session
from ppcls_lite.utils.errors import UserError

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")  # the fastest first
CALIBRATION = 8  # random images that set the ranges of 8-bit networks that are only timed


def check_quantizer(network: str, table_width: int) -> None:
    """Check that a network can be quantized by this installation.

    Args:
        network: its name.
        table_width: values of a row of the table that it takes; 0 for images alone.

    Raises:
        UserError: a package is missing, or the network takes a table.
    """
    if table_width:
        raise UserError(f"int8 is for networks that take images alone, but {network} takes a table; leave out int8")
    for name in ("ml_dtypes", "onnxruntime.quantization"):
        import_extra(name)


def check_gpu() -> list[str]:
    """The GPU providers of the installed ONNX Runtime, the fastest first.

    Raises:
        UserError: it has none.
    """
    known = import_extra("onnxruntime").get_available_providers()
    found = [name for name in PROVIDERS if name in known]
    if not found:
        raise UserError(
            f"--device is gpu, but onnxruntime has no GPU provider (only {', '.join(known)}); "
            f"run pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return found


def open_on_gpu(file: Path, precision: str) -> Runtime:
    """An ONNX file in ONNX Runtime on the first GPU.

    Args:
        file: a 32-bit .onnx file.
        precision: float32, or float16 for all of the network but its input and output.

    Raises:
        UserError: there is no GPU provider, or it cannot start.
    """
    providers = check_gpu()
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    chosen: list[tuple[str, dict[str, Any]]] = [(name, {"device_id": 0}) for name in providers]
    for name, settings in chosen:
        if name == PROVIDERS[0]:
            settings["trt_fp16_enable"] = precision == "float16"
    model = to_float16(file) if precision == "float16" else str(file)
    session = runtime.InferenceSession(model, options, providers=chosen)
    if not set(session.get_providers()) & set(providers):  # ONNX Runtime falls back to the CPU with a warning
        raise UserError(
            "--device is gpu, but onnxruntime could not start its GPU provider; check the driver and the versions of "
            "CUDA and cuDNN that onnxruntime-gpu needs"
        )
    return run_session(session)


def to_float16(file: Path) -> bytes:
    """An ONNX model with weights and activations in float16, and float32 input and output."""
    onnx = import_extra("onnx")
    convert = import_extra("onnxruntime.transformers.float16").convert_float_to_float16
    return convert(onnx.load(str(file)), keep_io_types=True).SerializeToString()


def check_bfloat16() -> None:
    """Check that OpenVINO computes in bfloat16 on this processor.

    Raises:
        UserError: it does not.
    """
    if "BF16" not in import_extra("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UserError("--precision is bfloat16, which this processor does not have; leave it out")
