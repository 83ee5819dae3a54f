"""The processes of one run, as ``paddle.distributed.launch`` starts them; alone, everything here is trivial.

Paddle's launcher tells each process its place through environment variables, which is all that is needed before paddle
is imported.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from ppcls_lite.utils.errors import UserError

T = TypeVar("T")


def check_environment(several: bool = False) -> None:
    """Refuse variables that are not a launcher's, before paddle is imported and fails on them.

    Args:
        several: the program is one for several processes.

    Raises:
        UserError: naming them, or a launcher that started a program for one process.
    """
    number, own = os.environ.get("PADDLE_TRAINERS_NUM", "1"), os.environ.get("PADDLE_TRAINER_ID", "0")
    places = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    try:
        complete = int(number) == 1 or (len(places) == int(number) and "PADDLE_TRAINER_ID" in os.environ)
        fits = 0 <= int(own) < int(number) and complete
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            f"the environment has PADDLE_TRAINER_ID={own} and PADDLE_TRAINERS_NUM={number}, which no launcher sets so; "
            f"remove them, or start with python -m paddle.distributed.launch"
        )
    if int(number) > 1 and not several:
        raise UserError("this works in one process; start it without paddle.distributed.launch")


def rank() -> int:
    """This process's number, from 0; process 0 alone writes."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


def count_processes() -> int:
    """Processes of the run, on all machines."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def count_local() -> int:
    """Processes of the run on this machine."""
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    host = os.environ.get("PADDLE_CURRENT_ENDPOINT", "").rpartition(":")[0]
    return max(1, sum(endpoint.rpartition(":")[0] == host for endpoint in endpoints)) if host else 1


def connect(device: str) -> None:
    """Connect the processes: NCCL on GPUs, Gloo on CPUs; ``device`` (gpu or cpu) is paddle's current one."""
    if count_processes() == 1:
        return
    import paddle

    if device == "cpu":
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # a build for GPUs would take NCCL
    paddle.distributed.init_parallel_env()


def gather(value: T) -> list[T]:
    """Every process's ``value``, in their order. All processes have to call this, as they do the functions below."""
    if count_processes() == 1:
        return [value]
    import paddle

    values: list[T] = []
    paddle.distributed.all_gather_object(values, value)
    return values


def on_rank0(function: Callable[[], T]) -> T:
    """What ``function()`` returns or refuses in process 0, in all processes: one looks at the files, all agree.

    Raises:
        UserError: what the function raised, in all processes.
    """
    outcome: tuple[Any, str | None] = (None, None)
    if rank() == 0:
        try:
            outcome = function(), None
        except UserError as error:
            outcome = None, str(error)
    result, refusal = gather(outcome)[0]
    if refusal is not None:
        raise UserError(refusal)
    return result


def raise_everywhere(function: Callable[[], T]) -> T:
    """What ``function()`` returns in each process; where it refuses in one, it does in all, with the same sentence.

    A process that ended alone would have the others wait, and say nothing where people look. In ``function`` no
    process may wait for another.

    Raises:
        UserError: the first process's that has one.
    """
    result, refusal = None, None
    try:
        result = function()
    except UserError as error:
        refusal = str(error)
    for sentence in gather(refusal):
        if sentence is not None:
            raise UserError(sentence)
    return result


def average(arrays: list[Any]) -> None:
    """Replace tensors of float32 by their mean over all processes, in place, in one exchange."""
    if count_processes() == 1 or not arrays:
        return
    import paddle

    flat = paddle.concat([tensor.flatten() for tensor in arrays])
    paddle.distributed.all_reduce(flat)
    flat = flat / count_processes()
    for tensor, part in zip(arrays, flat.split([int(tensor.size) for tensor in arrays]), strict=True):
        tensor.set_value(part.reshape(tensor.shape))


def mean(value: float) -> float:
    """The mean of all processes' values."""
    if count_processes() == 1:
        return value
    import paddle

    total = paddle.to_tensor([value], dtype="float64")
    paddle.distributed.all_reduce(total)
    return float(total) / count_processes()
