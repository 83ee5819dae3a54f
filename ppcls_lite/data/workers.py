"""Worker processes that prepare batches ahead of the training step, based on ``paddle.io.DataLoader``."""

import contextlib
import gc
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.text import count, describe_bytes

STOP_SECONDS = 10  # time for a worker to finish its task before it is killed
PREFETCH = 2  # batches that each worker prepares ahead
SHARED_MEMORY = "/dev/shm"
WORKER_KILLED = "a loading worker was killed, possibly for lack of memory; set fewer DataLoader.num_workers"

Task = Callable[[int], tuple[np.ndarray, Any]]


def map_in_workers(task: Task, number: int, num_workers: int) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield ``task(0)`` to ``task(number - 1)`` in order, computed ahead by worker processes.

    Workers are forked when the first result is requested, and have ended when the iterator is exhausted or closed.
    numpy's global random state does not depend on ``num_workers``.

    Args:
        task: returns a non-empty array, which is sent through shared memory, and any object that can be pickled.
            An exception in a worker is raised here, in order.
        num_workers: number of processes; 0 computes in this process, without paddle.

    Raises:
        TrainingError: a worker was killed.
    """
    if num_workers == 0 or number == 0:
        yield from map(task, range(number))
        return
    import paddle  # takes a second or more

    loader = paddle.io.DataLoader(
        _Tasks(task, number),
        places=[paddle.CPUPlace()],
        batch_size=None,
        collate_fn=lambda result: result,
        num_workers=min(num_workers, number),
        use_buffer_reader=False,
        prefetch_factor=PREFETCH,
        # Ctrl-C reaches all processes of a terminal; the main process handles it and ends the workers.
        worker_init_fn=lambda _worker: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    random_state = np.random.get_state()
    # An iterator of an earlier epoch may wait for garbage collection. Collecting it in a forked process, which does
    # not have its threads, would wait for them forever.
    gc.freeze()
    try:
        results = iter(loader)
    finally:
        gc.unfreeze()
        np.random.set_state(random_state)  # paddle draws a seed for the workers from it
    try:
        for array, extra in results:
            if extra.error is not None:
                raise extra.error
            yield array.numpy(), extra.value
    except SystemError:
        raise TrainingError(WORKER_KILLED) from None
    finally:
        # Garbage collection would not end the workers: a thread of the iterator refers to it.
        with contextlib.suppress(SystemError):  # paddle's signal handler may report a killed worker again
            results._try_shutdown_all(timeout=STOP_SECONDS)
        for worker in results._workers:
            if worker.is_alive():
                worker.kill()
                worker.join()


@dataclass(frozen=True)
class _Extra:
    """Wraps what is sent with the array, so that paddle does not search it for arrays and strings."""

    value: Any = None
    error: Exception | None = None


class _Tasks:
    """The numbered tasks as a paddle data set."""

    def __init__(self, task: Task, number: int):
        self.task, self.number = task, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[np.ndarray, _Extra]:
        try:
            array, extra = self.task(index)
            return array, _Extra(extra)
        except (UserError, MemoryError) as error:
            return np.zeros(1, np.uint8), _Extra(error=type(error)(str(error)))
        except Exception:  # paddle would print it from a thread and fail with another error
            return np.zeros(1, np.uint8), _Extra(error=RuntimeError(traceback.format_exc()))


def check_shared_memory(batch_bytes: int, num_workers: int, processes: int = 1) -> None:
    """Check that batches fit into shared memory; if they did not, a process would die with a bus error.

    Args:
        batch_bytes: size of one batch of uint8 images.
        num_workers: workers per training process.
        processes: training processes on this machine.

    Raises:
        UserError: there is not enough; the message says how to need less or provide more.
    """
    if num_workers == 0:
        return
    needed = batch_bytes * (num_workers * PREFETCH + 1) * processes
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
