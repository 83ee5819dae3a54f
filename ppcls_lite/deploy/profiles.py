"""Where a runtime's time goes: its own profile, summed by operator and size of the output."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_lite.deploy.runtimes import onnxruntime_session, open_paddle, openvino_request


@dataclass(frozen=True)
class OperatorTime:
    """Mean seconds a run of all operators of a kind; ``side`` of their output in pixels, None where it is not known."""

    operator: str
    side: int | None
    calls: int
    seconds: float


Calls = list[tuple[str, int | None, float]]  # operator, side, seconds


def profile(path: Path, backend: str, images: np.ndarray, threads: int, rounds: int) -> list[OperatorTime]:
    """Profile an exported network; the slowest kind comes first.

    Args:
        path: as ``runtimes.open_runtime`` takes it.
        backend: ``paddle``, ``onnxruntime`` or ``openvino``.
        images: float32 [N, C, H, W].
        rounds: profiled runs; two that warm up come before them.
    """
    calls = {"paddle": _paddle, "onnxruntime": _onnxruntime, "openvino": _openvino}[backend](
        path, images, threads, rounds
    )
    totals: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    for operator, side, seconds in calls:
        totals[operator, side].append(seconds)
    found = [OperatorTime(*key, round(len(times) / rounds), sum(times) / rounds) for key, times in totals.items()]
    return sorted(found, key=lambda one: -one.seconds)


def _onnxruntime(path: Path, images: np.ndarray, threads: int, rounds: int) -> Calls:
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime_session(path, threads, profile=f"{folder}/profile")
        feed = {session.get_inputs()[0].name: images}
        for _ in range(2 + rounds):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    measured = nodes[len(nodes) * 2 // (2 + rounds) :]
    calls = []
    for event in measured:
        (shape,) = event["args"]["output_type_shape"][0].values()
        calls.append((event["args"]["op_name"], shape[2] if len(shape) == 4 else None, event["dur"] / 1e6))
    return calls


def _openvino(path: Path, images: np.ndarray, threads: int, rounds: int) -> Calls:
    request = openvino_request(path, threads, profile=True)
    calls = []
    for i in range(2 + rounds):
        request.infer({0: images})
        if i >= 2:
            calls += [(one.node_type, None, one.real_time.total_seconds()) for one in request.profiling_info]
    return [call for call in calls if call[2]]  # what was fused into another takes no time


def _paddle(path: Path, images: np.ndarray, threads: int, rounds: int) -> Calls:
    run = open_paddle(path, threads)
    for _ in range(2):
        run(images)
    # Without a handler it would write a file.
    with paddle.profiler.Profiler(
        targets=[paddle.profiler.ProfilerTarget.CPU], on_trace_ready=lambda _: None
    ) as profiler:
        for _ in range(rounds):
            run(images)
    events = (event for root in profiler.profiler_result.get_data().values() for event in _walk(root))
    kind = paddle.profiler.TracerEventType.Operator
    return [(event.name, None, (event.end_ns - event.start_ns) / 1e9) for event in events if event.type == kind]


def _walk(event) -> Iterator:
    yield event
    for child in event.children_node:
        yield from _walk(child)
