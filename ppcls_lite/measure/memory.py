"""Peak memory of a network, measured in a process of its own, so that nothing else is counted.

For the efficiency table. ``engine.memory`` estimates the memory of a training run before it starts, without running it.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from ppcls_lite.measure.subject import Subject

CALLS = 2  # the first call allocates what later calls reuse, such as the optimizer's state


@dataclass(frozen=True)
class Memory:
    """Peak memory in bytes; None if unknown.

    ``process`` is the process's: resident memory on a CPU, GPU memory on a GPU (as in the VoVNet paper; it includes
    what CUDA and Paddle need). ``missing`` says why it is None. ``allocator`` is what Paddle allocated on the GPU.
    """

    process: int | None
    allocator: int | None
    missing: str = ""


def measure_memory(subject: Subject, batch_size: int, training: bool, device: str) -> Memory:
    """Peak memory of inference or of a training step, for a batch of images on ``device`` (gpu or cpu).

    Raises:
        MemoryError: not enough memory, or the process died, usually because the system killed it for lack of memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, subject, batch_size, training, device).result()
        except BrokenProcessPool:
            raise MemoryError from None


def _measure(subject: Subject, batch_size: int, training: bool, setting: str) -> Memory:
    from ppcls_lite.measure.energy import CounterError, gpu_process_memory
    from ppcls_lite.measure.steps import inference, training_step
    from ppcls_lite.utils import device

    device.select_device(setting)
    call = (training_step if training else inference)(subject.build(), subject, batch_size)
    for _ in range(CALLS):
        call()
    if not device.on_gpu():
        return Memory(device.peak_memory(), None)
    try:
        process, missing = gpu_process_memory(), "NVML does not list this process, as in some containers"
    except CounterError as error:
        process, missing = None, str(error)
    return Memory(process, device.peak_memory(), "" if process else missing)
