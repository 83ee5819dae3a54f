"""The processes of one run under ``paddle.distributed.launch``; with a single process, everything here is trivial.

Paddle's launcher describes the processes in environment variables, so that this module need not import paddle.
"""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ppcls_lite.utils.errors import UserError

T = TypeVar("T")


def check_environment(several: bool = False) -> None:
    """Check the launcher's variables before paddle is imported, which fails on wrong ones.

    Args:
        several: whether the program supports several processes.

    Raises:
        UserError: inconsistent variables, or several processes of a program for one.
    """
    number, own = os.environ.get("PADDLE_TRAINERS_NUM", "1"), os.environ.get("PADDLE_TRAINER_ID", "0")
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    try:
        complete = int(number) == 1 or (len(endpoints) == int(number) and "PADDLE_TRAINER_ID" in os.environ)
        valid = 0 <= int(own) < int(number) and complete
    except ValueError:
        valid = False
    if not valid:
        raise UserError(
            f"the environment has PADDLE_TRAINER_ID={own} and PADDLE_TRAINERS_NUM={number}, which no launcher sets; "
            f"unset them, or start with python -m paddle.distributed.launch"
        )
    if int(number) > 1 and not several:
        raise UserError("this tool runs in a single process; start it without paddle.distributed.launch")


def rank() -> int:
    """The index of this process, from 0; only process 0 writes files."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


def count_processes() -> int:
    """Number of processes of the run, on all machines."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def count_local() -> int:
    """Number of processes of the run on this machine."""
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    host = os.environ.get("PADDLE_CURRENT_ENDPOINT", "").rpartition(":")[0]
    return max(1, sum(endpoint.rpartition(":")[0] == host for endpoint in endpoints)) if host else 1


def let_first_end() -> None:
    """Wait, after an error, for the launcher to stop this process, unless it is the first one of its machine.

    The launcher stops all processes as soon as one has failed, and exits with the status of the first one: had
    another ended earlier, that would be the status of a stopped process. At most 10 seconds.
    """
    if os.environ.get("PADDLE_LOCAL_RANK", "0") != "0":
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(10)


def connect(device: str) -> None:
    """Connect the processes: NCCL on GPUs, Gloo on CPUs; ``device`` (gpu or cpu) is paddle's current one."""
    if count_processes() == 1:
        return
    import paddle

    if device == "cpu":
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # a GPU build would use NCCL
    paddle.distributed.init_parallel_env()


def gather(value: T) -> list[T]:
    """The ``value`` of every process, by rank. All processes must call this and the functions below."""
    if count_processes() == 1:
        return [value]
    import paddle

    values: list[T] = []
    paddle.distributed.all_gather_object(values, value)
    return values


def on_rank0(function: Callable[[], T]) -> T:
    """Call ``function`` in process 0 only; all processes return its result or raise its UserError.

    Raises:
        UserError: that of the function, in all processes.
    """
    outcome = _call(function) if rank() == 0 else (None, None)
    result, message = gather(outcome)[0]
    if message is not None:
        raise UserError(message)
    return result


def raise_everywhere(function: Callable[[], T]) -> T:
    """Call ``function`` in each process; if it raises a UserError in one, all processes raise it.

    If one process ended alone, the others would wait for it without a message. ``function`` itself must not
    communicate with other processes.

    Raises:
        UserError: that of the first process which raised one.
    """
    result, own_message = _call(function)
    for message in gather(own_message):
        if message is not None:
            raise UserError(message)
    return result


def _call(function: Callable[[], T]) -> tuple[T | None, str | None]:
    """The function's result, and the message of its UserError."""
    try:
        return function(), None
    except UserError as error:
        return None, str(error)


def average(arrays: list[Any]) -> None:
    """Replace float32 tensors by their mean over all processes, in place, in one exchange."""
    if count_processes() == 1 or not arrays:
        return
    import paddle

    flat = paddle.concat([tensor.flatten() for tensor in arrays])
    paddle.distributed.all_reduce(flat)
    flat = flat / count_processes()
    for tensor, part in zip(arrays, flat.split([int(tensor.size) for tensor in arrays]), strict=True):
        tensor.set_value(part.reshape(tensor.shape))


def mean(value: float) -> float:
    """The mean of ``value`` over all processes."""
    if count_processes() == 1:
        return value
    import paddle

    total = paddle.to_tensor([value], dtype="float64")
    paddle.distributed.all_reduce(total)
    return float(total) / count_processes()
