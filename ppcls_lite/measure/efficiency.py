"""What networks cost side by side: time, memory, energy, memory access; not multiply-adds alone.

After the VoVNet paper (arXiv:1904.09730, sections 2 and 4.1), whose point is that networks with the same multiply-adds
differ twofold in time and fourfold in energy. Its measures: memory access cost, and computation efficiency, which is
multiply-adds a second.
"""

import contextlib
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ppcls_lite.measure import energy
from ppcls_lite.measure.complexity import LayerCost, profile_layers, time_layers
from ppcls_lite.measure.memory import Memory, measure_memory
from ppcls_lite.measure.steps import inference, training_step
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns
from ppcls_lite.utils.device import on_gpu
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

INFERENCE, TRAINING = "inference", "training step"


class Case(NamedTuple):
    """What is timed: a network in a mode with a batch."""

    network: str
    mode: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.network}, {self.mode} of {count(self.batch_size, 'image')}"


@dataclass(frozen=True)
class Speed:
    """A mode's speed with a batch; ``ratio`` is the time against the first network's, ``joules`` an image's energy."""

    mode: str
    batch_size: int
    timing: Timing
    ratio: float
    memory: Memory
    joules: float | None

    @property
    def images_per_sec(self) -> float:
        return self.batch_size / self.timing.median


@dataclass(frozen=True)
class Efficiency:
    """A network's costs for one image by layer, its speeds, and its layers' seconds by name where asked for."""

    subject: Subject
    layers: list[LayerCost]
    speeds: list[Speed]
    layer_times: dict[str, float]

    def total(self, cost: str) -> int:
        """Sum over the layers of params, macs, memory_access or activations."""
        return sum(getattr(layer, cost) for layer in self.layers)

    def macs_per_sec(self, speed: Speed) -> float:
        """Computation efficiency: multiply-adds a second."""
        return self.total("macs") * speed.images_per_sec


def measure_efficiency(
    subjects: Sequence[Subject], batch_sizes: Sequence[int], train_batch_size: int, rounds: int, layers: bool = False
) -> tuple[list[Efficiency], dict[str, str]]:
    """Measure networks on paddle's current device. All of them are in memory at once while they take turns.

    Ctrl-C ends with what is complete, once a round of inference is.

    Args:
        subjects: networks of different names; times are compared with the first one's.
        batch_sizes: of inference.
        train_batch_size: of training steps; 0 for none.
        rounds: measured calls of each network and batch size.
        layers: time the layers, too, with the first batch size.

    Returns:
        The measurements in the order of ``subjects``, and facts about them: the source of the energy, or why it or the
        memory is n/a.

    Raises:
        UserError: options that make no network.
        MemoryError: names what did not fit.
    """
    networks = {subject.name: subject.build() for subject in subjects}
    costs = {s.name: profile_layers(networks[s.name], s.image_size, s.channels) for s in subjects}
    cases = {
        mode: [(Case(subject.name, mode, size), subject) for subject in subjects for size in sizes]
        for mode, sizes in ((INFERENCE, batch_sizes), (TRAINING, [train_batch_size] if train_batch_size else []))
    }
    device = "gpu" if on_gpu() else "cpu"
    memory = {}
    for case, subject in itertools.chain(*cases.values()):
        logger.info("memory of %s", case)
        memory[case] = _naming(case)(measure_memory)(subject, case.batch_size, case.mode == TRAINING, device)

    counter, source = _open_counter()
    timings: dict[Case, Timing] = {}
    joules: dict[Case, float] = {}
    times: dict[str, dict[str, float]] = {}
    try:
        for mode, make in ((INFERENCE, inference), (TRAINING, training_step)):  # changing a network's mode takes time
            calls = {
                case: _naming(case)(make(networks[case.network], subject, case.batch_size))
                for case, subject in cases[mode]
            }
            if not calls:
                continue
            logger.info("times of %s: %s", mode, count(rounds, "round"))
            timings |= time_in_turns(calls, rounds)
            if layers and mode == INFERENCE:
                for name, network in networks.items():
                    times[name] = time_layers(network, calls[Case(name, mode, batch_sizes[0])], rounds)
            if counter:
                logger.info("energy of %s: %.0f s each", mode, energy.WINDOW)
                for case, call in calls.items():
                    joules[case] = energy.joules_per_call(counter, call) / case.batch_size
    except KeyboardInterrupt:
        if not timings:
            raise
        logger.warning("interrupted: what is missing below was not measured")
    except energy.CounterError as error:
        joules, source = {}, f"n/a: {error}"

    found = []
    for subject in subjects:
        speeds = []
        for case in (case for case in timings if case.network == subject.name):
            ratio = median_ratio(timings[case], timings[case._replace(network=subjects[0].name)])
            speeds.append(Speed(*case[1:], timings[case], ratio, memory[case], joules.get(case)))
        found.append(Efficiency(subject, costs[subject.name], speeds, times.get(subject.name, {})))
    facts = {"rounds": str(min(len(timing.seconds) for timing in timings.values())), "energy": source}
    missing = {one.missing for one in memory.values() if one.missing}
    return found, facts | ({"process memory": f"n/a: {', '.join(sorted(missing))}"} if missing else {})


@contextlib.contextmanager
def _naming(case: Case):
    """Name ``case`` on a lack of memory."""
    try:
        yield
    except MemoryError:
        raise MemoryError(str(case)) from None


def _open_counter():
    """The energy counter or None, and its source or why there is none."""
    try:
        counter = energy.open_counter()
        return counter, f"{counter.source}, one window of {energy.WINDOW:.0f} s each"
    except energy.CounterError as error:
        return None, f"n/a: {error}"
