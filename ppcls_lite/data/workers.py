"""Worker processes that prepare batches ahead of the training step, by ``paddle.io.DataLoader``."""

import gc
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.text import count, describe_bytes

STOP_SECONDS = 10  # for a worker to finish what it is reading; then it is killed
PREFETCH = 2  # batches that each worker prepares ahead
SHARED_MEMORY = "/dev/shm"
WORKER_KILLED = "a loading worker was killed, for lack of memory or otherwise; set fewer DataLoader.num_workers"

Task = Callable[[int], tuple[np.ndarray, Any]]


def map_in_workers(task: Task, number: int, num_workers: int) -> Iterator[tuple[np.ndarray, Any]]:
    """``task(0)`` to ``task(number - 1)``, in this order, computed ahead by worker processes.

    Workers are forked when the first result is asked for, and have ended when the iterator ends or is closed. numpy's
    global random state is the same for any ``num_workers``.

    Args:
        task: returns a non-empty array, which is sent through shared memory, and any object that can be pickled.
            What it raises in a worker is raised here, in its turn.
        num_workers: processes; 0 computes in this one, without paddle.

    Raises:
        TrainingError: a worker was killed.
    """
    if num_workers == 0 or number == 0:
        yield from map(task, range(number))
        return
    import paddle  # a second or more

    loader = paddle.io.DataLoader(
        _Tasks(task, number),
        places=[paddle.CPUPlace()],
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=min(num_workers, number),
        use_buffer_reader=False,
        prefetch_factor=PREFETCH,
        worker_init_fn=_ignore_ctrl_c,
    )
    results = _start(loader)
    try:
        while (result := _next(results)) is not None:
            array, extra = result
            if extra.error is not None:
                raise extra.error
            yield array.numpy(), extra.value
    finally:
        _stop(results)


def check_shared_memory(batch_bytes: int, num_workers: int, prefetch: int = PREFETCH, processes: int = 1) -> None:
    """Check that batches fit into shared memory; where they do not, a process would die with a bus error.

    Args:
        batch_bytes: of one batch of uint8 images.
        num_workers: of one training process.
        prefetch: batches that each worker prepares ahead.
        processes: training processes of this machine.

    Raises:
        UserError: says what is needed, what is available, and how to change either.
    """
    if num_workers == 0:
        return
    needed = batch_bytes * (num_workers * prefetch + 1) * processes
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        free = 0
    if needed > free:
        raise UserError(
            f"shared memory ({SHARED_MEMORY}): {describe_bytes(needed)} needed for batches of "
            f"{count(num_workers * processes, 'loading worker')}, {describe_bytes(free)} available; set fewer "
            f"DataLoader.num_workers (0 for none) or a smaller DataLoader.batch_size, or start the container with "
            f"docker run --shm-size={-(-2 * needed // 2**30)}g"
        )


def _start(loader: Iterable) -> Iterator:
    """A running iterator of a paddle loader."""
    state = np.random.get_state()
    # An iterator of an earlier epoch may await garbage collection. In a fork, where its threads are gone, collecting
    # it would wait for them for ever.
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()
        np.random.set_state(state)  # of which it drew a seed for the workers


def _stop(results: Iterator) -> None:
    """End the workers. Garbage collection would not: a thread of the iterator's refers to it."""
    results._try_shutdown_all(timeout=STOP_SECONDS)
    for worker in results._workers:
        if worker.is_alive():
            worker.kill()
            worker.join()


class _Tasks:
    """The numbered tasks as a paddle data set."""

    def __init__(self, task: Task, number: int):
        self.task, self.number = task, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[np.ndarray, "_Extra"]:
        try:
            array, extra = self.task(index)
            return array, _Extra(extra)
        except (UserError, MemoryError) as error:
            return np.zeros(1, np.uint8), _Extra(error=type(error)(str(error)))
        except Exception:  # paddle would print it from a thread, and end with another error
            return np.zeros(1, np.uint8), _Extra(error=RuntimeError(traceback.format_exc()))


@dataclass(frozen=True)
class _Extra:
    """Wraps what is sent beside the array, so that paddle does not search it for arrays and strings."""

    value: Any = None
    error: Exception | None = None


def _unchanged(result: Any) -> Any:
    return result


def _ignore_ctrl_c(_worker: int) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the main process, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _next(results: Iterator) -> Any:
    try:
        return next(results, None)
    except SystemError:
        raise TrainingError(WORKER_KILLED) from None
