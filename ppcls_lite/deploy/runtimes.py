"""The runtimes of exported networks (Paddle Inference, ONNX Runtime, OpenVINO), their profiles, and eager execution."""

import functools
import importlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import paddle

from ppcls_lite.utils.device import on_gpu, synchronize
from ppcls_lite.utils.errors import UserError

# From an array float32 for each input, such as images [N, C, H, W], to the outputs float32 [N, outputs] side by side.
Runtime = Callable[..., np.ndarray]

BACKENDS = ("eager", "paddle", "onnxruntime", "openvino")
PROGRAM, PARAMETERS, ONNX = ".pdmodel", ".pdiparams", ".onnx"


def eager(network: paddle.nn.Layer) -> Runtime:
    """A network in evaluation mode, on paddle's current device."""
    network.eval()

    def run(*inputs: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            outputs = network(*map(paddle.to_tensor, inputs))
        synchronize()
        return outputs.numpy()

    return run


def open_runtime(path: Path, backend: str, threads: int, *, device: str = "cpu", precision: str = "float32") -> Runtime:
    """An exported network in a runtime, on the CPU; ``paddle`` runs on paddle's current device.

    Args:
        path: an .onnx file, or the prefix of a Paddle model with undamaged files (Paddle crashes on damaged ones).
        backend: ``paddle``, ``onnxruntime`` or ``openvino``.
        threads: CPU threads; for ``paddle`` at most OMP_NUM_THREADS at the time paddle was imported.
        device: cpu, or gpu for ``onnxruntime``.
        precision: ``bfloat16`` for ``openvino``, ``float16`` for ``onnxruntime`` on a GPU; others are as in the file.

    Returns:
        A function that runs the network, of an array for each input, in the order of their names; it raises a UserError
        if the runtime cannot process them.

    Raises:
        UserError: the runtime is not installed or cannot read the file.
    """

    def call(action: Callable[..., Any], problem: str, *arguments) -> Any:
        try:
            return action(*arguments)
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime's have no common class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{backend} cannot {problem} {path} ({reason}); export the network again") from None

    if device == "gpu":
        from ppcls_lite.deploy.precision import open_on_gpu

        run = call(open_on_gpu, "open", path, precision)
    elif precision == "bfloat16":
        run = call(_open_openvino, "open", path, threads, "bf16")
    else:
        run = call(_RUNTIMES[backend], "open", path, threads)
    return lambda *inputs: call(run, "run", *inputs)


def _open_paddle(prefix: Path, threads: int) -> Runtime:
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
            # The pass finds little to fuse in an octave network, and takes a minute for Oct-ResNet-101.
            for name in ("onednn", "mkldnn"):  # depends on the Paddle version
                config.delete_pass(f"conv_elementwise_add_{name}_fuse_pass")
    config.enable_memory_optim()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    sources = [predictor.get_input_handle(name) for name in sorted(predictor.get_input_names())]
    targets = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def run(*inputs: np.ndarray) -> np.ndarray:
        for source, values in zip(sources, inputs, strict=True):
            source.copy_from_cpu(np.ascontiguousarray(values))
        predictor.run()
        return _join([target.copy_to_cpu() for target in targets])

    return run


def _open_onnxruntime(file: Path, threads: int) -> Runtime:
    return run_session(_onnxruntime_session(file, threads))


def run_session(session: Any) -> Runtime:
    """A session of ONNX Runtime, called as a function."""
    names = sorted(one.name for one in session.get_inputs())
    return lambda *inputs: _join(session.run(None, dict(zip(names, inputs, strict=True))))


def _onnxruntime_session(file: Path, threads: int, profile: str | None = None) -> Any:
    """A CPU session; ``profile`` is the prefix of the file for its profile."""
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _open_openvino(file: Path, threads: int, precision: str = "f32") -> Runtime:
    prepare = _openvino(file, threads, precision=precision)

    def run(*inputs: np.ndarray) -> np.ndarray:
        request, feed = prepare(*map(np.ascontiguousarray, inputs))
        found = request.infer(feed, share_inputs=True, share_outputs=True)
        return _join([found[i] for i in range(len(found))]).copy()

    return run


def _openvino(file: Path, threads: int, profile: bool = False, precision: str = "f32") -> Callable[..., tuple]:
    """A function from inputs to a request for their shapes and its inputs by number.

    The network is compiled for each batch size; compiled for any size, it takes up to a tenth longer.
    """
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,  # the default is bfloat16 if the processor has it
        "PERF_COUNT": profile,
    }
    core = import_extra("openvino").Core()
    model = core.read_model(str(file))
    # An input also has the names of the operators that OpenVINO removed after it, so the names' order tells nothing.
    order = sorted(range(len(model.inputs)), key=lambda i: "table" in model.inputs[i].names)

    @functools.lru_cache(maxsize=2)  # the size of most batches and that of the last one
    def compile_for(*shapes: tuple[int, ...]) -> Any:
        model.reshape({model.inputs[i]: shape for i, shape in zip(order, shapes, strict=True)})
        return core.compile_model(model, "CPU", settings).create_infer_request()

    return lambda *inputs: (compile_for(*(one.shape for one in inputs)), dict(zip(order, inputs, strict=True)))


def _join(outputs: list[np.ndarray]) -> np.ndarray:
    """Outputs [N, K] of several heads side by side."""
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)


_RUNTIMES = {"paddle": _open_paddle, "onnxruntime": _open_onnxruntime, "openvino": _open_openvino}


@dataclass(frozen=True)
class OperatorTime:
    """Mean seconds per run of all operators of a kind; ``side`` of their output is in pixels, None if unknown."""

    operator: str
    side: int | None
    calls: int
    seconds: float


Calls = list[tuple[str, int | None, float]]  # operator, side, seconds
WARMUP = 2  # runs before the profiled ones


def profile(path: Path, backend: str, inputs: list[np.ndarray], threads: int, rounds: int) -> list[OperatorTime]:
    """Profile an exported network; the slowest operator comes first.

    Args:
        path, backend, threads: as in :func:`open_runtime`.
        inputs: an array for each input, as for a :data:`Runtime`.
        rounds: profiled runs.
    """
    calls = _PROFILERS[backend](path, inputs, threads, rounds)
    totals: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    for operator, side, seconds in calls:
        totals[operator, side].append(seconds)
    found = [OperatorTime(*key, round(len(times) / rounds), sum(times) / rounds) for key, times in totals.items()]
    return sorted(found, key=lambda one: -one.seconds)


def _profile_onnxruntime(path: Path, inputs: list[np.ndarray], threads: int, rounds: int) -> Calls:
    with tempfile.TemporaryDirectory() as folder:
        session = _onnxruntime_session(path, threads, profile=f"{folder}/profile")
        feed = dict(zip(sorted(one.name for one in session.get_inputs()), inputs, strict=True))
        for _ in range(WARMUP + rounds):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    calls = []
    for event in nodes[len(nodes) * WARMUP // (WARMUP + rounds) :]:
        (shape,) = event["args"]["output_type_shape"][0].values()
        calls.append((event["args"]["op_name"], shape[2] if len(shape) == 4 else None, event["dur"] / 1e6))
    return calls


def _profile_openvino(path: Path, inputs: list[np.ndarray], threads: int, rounds: int) -> Calls:
    (request, feed), calls = _openvino(path, threads, profile=True)(*inputs), []
    for i in range(WARMUP + rounds):
        request.infer(feed)
        if i >= WARMUP:
            calls += [(one.node_type, None, one.real_time.total_seconds()) for one in request.profiling_info]
    return [call for call in calls if call[2]]  # operators that are fused into others take no time


def _profile_paddle(path: Path, inputs: list[np.ndarray], threads: int, rounds: int) -> Calls:
    run = _open_paddle(path, threads)
    for _ in range(WARMUP):
        run(*inputs)
    targets = [paddle.profiler.ProfilerTarget.CPU]
    # The default handler writes a file.
    with paddle.profiler.Profiler(targets=targets, on_trace_ready=lambda _: None) as profiler:
        for _ in range(rounds):
            run(*inputs)
    events = (event for root in profiler.profiler_result.get_data().values() for event in _walk(root))
    kind = paddle.profiler.TracerEventType.Operator
    return [(event.name, None, (event.end_ns - event.start_ns) / 1e9) for event in events if event.type == kind]


def _walk(event) -> Iterator:
    yield event
    for child in event.children_node:
        yield from _walk(child)


_PROFILERS = {"paddle": _profile_paddle, "onnxruntime": _profile_onnxruntime, "openvino": _profile_openvino}


def import_extra(name: str) -> ModuleType:
    """Import a package of requirements-deploy.txt.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = "openvino" if name == "openvino" else "-r requirements-deploy.txt"
        raise UserError(f"{name} cannot be imported ({error}); run pip install {package}") from None
