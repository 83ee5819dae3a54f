"""What networks cost side by side: time, memory, energy, memory access; not multiply-adds alone.

After the VoVNet paper (arXiv:1904.09730, sections 2 and 4.1), whose point is that networks with the same multiply-adds
differ twofold in time and fourfold in energy. Its measures: memory access cost, and computation efficiency, which is
multiply-adds a second.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ppcls_lite.device import on_gpu
from ppcls_lite.measure import energy
from ppcls_lite.measure.complexity import LayerCost, profile_layers
from ppcls_lite.measure.layer_times import LayerTime, time_layers
from ppcls_lite.measure.memory import Memory, measure_memory
from ppcls_lite.measure.steps import inference, training_step
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns

logger = logging.getLogger(__name__)

INFERENCE, TRAINING = "inference", "training step"


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
    """A network's costs for one image by layer, its speeds, and its layers' times where asked for."""

    subject: Subject
    layers: list[LayerCost]
    speeds: list[Speed]
    layer_times: list[LayerTime]

    def total(self, cost: str) -> int:
        """Sum over the layers of params, macs, memory_access or activations."""
        return sum(getattr(layer, cost) for layer in self.layers)

    def macs_per_sec(self, speed: Speed) -> float:
        """Computation efficiency: multiply-adds a second."""
        return self.total("macs") * speed.images_per_sec


def measure_efficiency(
    subjects: Sequence[Subject], batch_sizes: Sequence[int], train_batch_size: int, rounds: int, layers: bool = False
) -> tuple[list[Efficiency], str]:
    """Measure networks on paddle's current device.

    Args:
        subjects: networks of different names; times are compared with the first one's.
        batch_sizes: of inference.
        train_batch_size: of training steps; 0 for none.
        rounds: measured calls of each network and batch size; the networks take turns.
        layers: time the layers, too, with the first batch size.

    Returns:
        The measurements in the order of ``subjects``, and where the energy comes from, or why it is n/a.
    """
    modes = [(INFERENCE, size) for size in batch_sizes]
    modes += [(TRAINING, train_batch_size)] if train_batch_size else []
    memory = {}
    for i, subject in enumerate(subjects, 1):
        logger.info("memory of %s (%d of %d)", subject.name, i, len(subjects))
        for mode in modes:
            memory[subject.name, mode] = _memory(subject, *mode)

    networks = {subject.name: subject.build() for subject in subjects}
    costs = {s.name: profile_layers(networks[s.name], s.image_size, s.channels) for s in subjects}
    calls = {}
    for subject in subjects:
        for mode, size in modes:
            make = inference if mode == INFERENCE else training_step
            calls[subject.name, (mode, size)] = make(networks[subject.name], subject, size)
    logger.info("times: %d rounds", rounds)
    timings = time_in_turns(calls, rounds)
    joules, source = _energies(calls)

    found = []
    for subject in subjects:
        speeds = []
        for mode in modes:
            key, first = (subject.name, mode), (subjects[0].name, mode)
            ratio = median_ratio(timings[key], timings[first])
            speeds.append(Speed(*mode, timings[key], ratio, memory[key], joules.get(key)))
        times = time_layers(networks[subject.name], calls[subject.name, modes[0]], rounds) if layers else []
        found.append(Efficiency(subject, costs[subject.name], speeds, times))
    return found, source


def _memory(subject: Subject, mode: str, batch_size: int) -> Memory:
    try:
        return measure_memory(subject, batch_size, mode == TRAINING, "gpu" if on_gpu() else "cpu")
    except MemoryError:
        raise MemoryError(f"{subject.name}, {mode} of {batch_size} images") from None


def _energies(calls: dict) -> tuple[dict, str]:
    """Joules an image by call, and their source or why there are none."""
    try:
        counter = energy.open_counter()
        logger.info("energy: %.0f s for each network and batch size", energy.WINDOW)
        return {key: energy.joules_per_call(counter, call) / key[1][1] for key, call in calls.items()}, counter.source
    except OSError as error:
        return {}, f"n/a: {error}"
