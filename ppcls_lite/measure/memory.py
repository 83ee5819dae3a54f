"""Peak memory of a network, measured in a process of its own, so that nothing else is counted."""

import multiprocessing
import signal
from dataclasses import dataclass

from ppcls_lite.measure.subject import Subject
from ppcls_lite.utils.errors import TrainingError

CALLS = 2  # the first makes what later ones keep, such as the optimizer's state


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak; None where it cannot be told.

    ``process`` is what the process holds: resident memory on a CPU, the card's on a GPU (as in the VoVNet paper, which
    includes what CUDA and Paddle themselves need); ``missing`` says why it is None. ``allocator`` is what Paddle had
    allocated on the GPU.
    """

    process: int | None
    allocator: int | None
    missing: str = ""


def measure_memory(subject: Subject, batch_size: int, training: bool, device: str) -> Memory:
    """Peak memory of inference, or of a training step, with a batch of images on ``device`` (gpu or cpu).

    Raises:
        MemoryError: there is not enough, or the system killed the process, which it does for lack of memory.
        TrainingError: the process ended in another way.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, subject, batch_size, training, device))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process alone, which ends the other
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise MemoryError from None
        raise TrainingError(f"the process that measures memory ended with status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def _send(sender, *arguments) -> None:
    try:
        sender.send(_measure(*arguments))
    except Exception as error:
        sender.send(error)


def _measure(subject: Subject, batch_size: int, training: bool, setting: str) -> Memory:
    from ppcls_lite.measure import energy
    from ppcls_lite.measure.steps import inference, training_step
    from ppcls_lite.utils import device

    device.select_device(setting)
    call = (training_step if training else inference)(subject.build(), subject, batch_size)
    for _ in range(CALLS):
        call()
    if not device.on_gpu():
        return Memory(device.peak_memory(), None)
    try:
        process = energy.open_nvml().process_memory()
        missing = "" if process else "NVML does not list this process, as in some containers"
    except energy.CounterError as error:
        process, missing = None, str(error)
    return Memory(process, device.peak_memory(), missing)
