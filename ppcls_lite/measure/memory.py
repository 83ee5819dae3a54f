"""Peak memory of a network, measured in a process of its own, so that nothing else is counted."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from ppcls_lite.measure.subject import Subject

CALLS = 2  # the first makes what later ones keep, such as the optimizer's state


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak; None where it cannot be told.

    ``process`` is what the process holds: resident memory on a CPU, the card's on a GPU (as in the VoVNet paper, which
    includes what CUDA and Paddle themselves need). ``allocator`` is what Paddle had allocated on the GPU.
    """

    process: int | None
    allocator: int | None


def measure_memory(subject: Subject, batch_size: int, training: bool, device: str) -> Memory:
    """Peak memory of inference, or of a training step, with a batch of images on ``device`` (gpu or cpu).

    Raises:
        MemoryError: the process ended before it was done; there is not enough memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, subject, batch_size, training, device).result()
        except BrokenProcessPool:
            raise MemoryError from None


def _measure(subject: Subject, batch_size: int, training: bool, setting: str) -> Memory:
    from ppcls_lite import cli

    cli.import_paddle()
    from ppcls_lite import device
    from ppcls_lite.measure import energy
    from ppcls_lite.measure.steps import inference, training_step

    device.select_device(setting)
    call = (training_step if training else inference)(subject.build(), subject, batch_size)
    for _ in range(CALLS):
        call()
    if not device.on_gpu():
        return Memory(device.peak_memory(), None)
    try:
        process = energy.open_nvml().process_memory()
    except OSError:
        process = None
    return Memory(process, device.peak_memory())
