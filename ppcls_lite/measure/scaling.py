"""Training in several processes: time of a step and of its gradient exchange, and a prediction for more processes."""

from dataclasses import dataclass

import paddle

from ppcls_lite.measure.complexity import count_params
from ppcls_lite.measure.steps import training_step
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, time_in_turns
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import synchronize


@dataclass(frozen=True)
class Scaling:
    """A network's training step.

    ``alone`` is a step without gradient exchange, ``together`` a step with it, ``exchange`` the all-reduce of all
    gradients alone. ``together`` and ``exchange`` are None in a single process.
    """

    name: str
    gradient_bytes: int
    alone: Timing
    together: Timing | None
    exchange: Timing | None

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second that each process sent, assuming a ring."""
        if self.exchange is None:
            return None
        return sent_bytes(self.gradient_bytes, processes.count_processes()) / self.exchange.median

    def predict(self, number: int, bandwidth: float) -> float:
        """Seconds of a step with ``number`` processes, if the exchange does not overlap with the backward pass."""
        return self.alone.median + sent_bytes(self.gradient_bytes, number) / bandwidth


def sent_bytes(size: int, number: int) -> float:
    """Bytes that each of ``number`` processes sends to all-reduce ``size`` bytes in a ring.

    No algorithm sends less (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
    workstations", 2009).
    """
    return 2 * (number - 1) / number * size


def measure_scaling(subjects: list[Subject], batch_size: int, rounds: int) -> list[Scaling]:
    """Time the training steps of networks in turns. Every process must call it; each gets its own timings."""
    calls, sizes = {}, {}
    for subject in subjects:
        name, network = subject.name, subject.build()
        sizes[name] = 4 * count_params(network)
        calls[name, "alone"] = training_step(network, subject, batch_size)
        if processes.count_processes() > 1:
            # The barriers keep waiting for a late process out of the exchange's time.
            calls[name, "first barrier"] = paddle.distributed.barrier
            calls[name, "together"] = training_step(paddle.DataParallel(subject.build()), subject, batch_size)
            calls[name, "second barrier"] = paddle.distributed.barrier
            calls[name, "exchange"] = _exchange(sizes[name])
    timings = time_in_turns(calls, rounds)
    steps = ("alone", "together", "exchange")
    return [Scaling(name, size, *(timings.get((name, step)) for step in steps)) for name, size in sizes.items()]


def _exchange(size: int):
    gradients = paddle.zeros([size // 4])

    def exchange() -> None:
        paddle.distributed.all_reduce(gradients)
        synchronize()

    return exchange
