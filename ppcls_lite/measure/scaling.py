"""Training in several processes: what a step and its exchange of gradients take, and what more processes would do."""

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

    ``alone`` is a step without exchange, ``together`` one with it, ``exchange`` the sum of all gradients over all
    processes by itself; the last two are None in a single process.
    """

    name: str
    gradient_bytes: int
    alone: Timing
    together: Timing | None
    exchange: Timing | None

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second that each process sent, for a ring."""
        if self.exchange is None:
            return None
        return sent_bytes(self.gradient_bytes, processes.count_processes()) / self.exchange.median

    def predict(self, number: int, bandwidth: float) -> float:
        """Seconds of a step of ``number`` processes, where nothing of the exchange hides behind the backward pass."""
        return self.alone.median + sent_bytes(self.gradient_bytes, number) / bandwidth


def sent_bytes(size: int, number: int) -> float:
    """What each of ``number`` processes sends to add up ``size`` bytes in a ring.

    Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009: no algorithm
    sends less.
    """
    return 2 * (number - 1) / number * size


def measure_scaling(subjects: list[Subject], batch_size: int, rounds: int) -> list[Scaling]:
    """Time the steps of networks in turns; every process of the run calls it, and has figures of its own."""
    several = processes.count_processes() > 1
    calls, sizes = {}, {}
    for subject in subjects:
        network = subject.build()
        sizes[subject.name] = 4 * count_params(network)
        calls[subject.name, "alone"] = training_step(network, subject, batch_size)
        if several:
            # Whoever is late would be counted as slow exchange: processes meet before each.
            calls[subject.name, "meet"] = paddle.distributed.barrier
            calls[subject.name, "together"] = training_step(paddle.DataParallel(subject.build()), subject, batch_size)
            calls[subject.name, "meet again"] = paddle.distributed.barrier
            calls[subject.name, "exchange"] = _exchange(sizes[subject.name])
    timings = time_in_turns(calls, rounds)
    return [
        Scaling(name, size, *(timings.get((name, what)) for what in ("alone", "together", "exchange")))
        for name, size in sizes.items()
    ]


def _exchange(size: int):
    gradients = paddle.zeros([size // 4])

    def exchange() -> None:
        paddle.distributed.all_reduce(gradients)
        synchronize()

    return exchange
