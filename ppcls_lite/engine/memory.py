"""An estimate of the memory that training needs, before its first step.

Parameters, gradients and optimizer states are counted. The tensors kept for the backward pass are measured on one image
with ``paddle.autograd.saved_tensors_hooks``. Two measured factors (docs/robustness.md) cover the rest: temporary
gradients, and memory that the allocator cannot reuse.
"""

import logging
from dataclasses import dataclass

import paddle

from ppcls_lite.arch.base import blank_inputs, freeze_backbone
from ppcls_lite.arch.registry import fixed_input_size
from ppcls_lite.engine.build import autocast
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import held_memory, usable_memory
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes

logger = logging.getLogger(__name__)

TRAINING = 1.5  # memory of a training step divided by that of the tensors kept for the backward pass
SCORING = 0.3  # the same for scoring, which keeps none
LIMIT = 1.5  # a run that needs more than this times the available memory is refused
LARGE = 256  # larger images, in pixels a side, are measured on a smaller one first


@dataclass(frozen=True)
class Estimate:
    """Bytes: independent of the batch, for each image of a training step, and for other work (scoring, saving)."""

    fixed: float
    per_image: float
    other: float

    def total(self, batch_size: int) -> float:
        """The peak with ``batch_size`` images a step."""
        return self.fixed + max(self.per_image * batch_size, self.other)

    def largest_batch(self, memory: float) -> int:
        """The largest batch whose peak is at most ``memory``; below 1 if there is none."""
        return int((memory - self.fixed) / self.per_image) if self.fixed + self.other <= memory else 0


def estimate_memory(setup: Setup, model: paddle.Model, most_scored: int) -> Estimate:
    """The memory for training ``model`` and for scoring ``most_scored`` images a step; ``model`` stays unchanged."""
    network = model.network
    trained = sum(_size(p) for p in network.parameters() if not p.stop_gradient)
    weights = sum(_size(value) for value in network.state_dict().values())
    state = trained * (1 if setup.config.Optimizer.name == "Momentum" else 2)  # velocity; first and second moments
    kept = _kept_for_backward(setup, network)
    average = weights if setup.config.Global.ema_decay else 0
    fixed = held_memory() + trained + state + average
    # A checkpoint is built in memory, with a copy of its contents.
    return Estimate(fixed, TRAINING * kept, max(SCORING * kept * most_scored, weights + 2 * state + average))


def check_memory(estimate: Estimate, batch_size: int, force: bool) -> None:
    """Log the estimate for steps of ``batch_size`` images; warn if it exceeds the available memory.

    Raises:
        UserError: it exceeds that by more than the factor ``LIMIT``, without ``force``.
    """
    needed, free = estimate.total(batch_size), usable_memory()
    logger.info("memory: about %s needed, %s available", describe_bytes(needed), describe_bytes(free))
    if needed <= free:
        return
    problem = (
        f"training with DataLoader.batch_size={batch_size} needs about {describe_bytes(needed)} of memory, "
        f"and {describe_bytes(free)} is available; {advise_batch(estimate, free)}"
    )
    if needed > LIMIT * free and not force:
        raise UserError(f"{problem}; --force tries it anyway")
    logger.warning("warning: %s", problem)


def advise_batch(estimate: Estimate, free: float) -> str:
    """Which batch size would fit, for a message."""
    fits = estimate.largest_batch(free)
    if estimate.fixed + estimate.other > free >= estimate.fixed + estimate.per_image:
        return "a smaller DataLoader.eval_batch_size would fit"
    return f"DataLoader.batch_size={fits} would fit" if fits >= 1 else "no batch size would fit"


def _kept_for_backward(setup: Setup, network: paddle.nn.Layer) -> float:
    """Bytes kept for the backward pass of one image."""
    config, size, channels = setup.config, setup.input_size, setup.channels
    with autocast(config.AMP):
        if size > LARGE and not fixed_input_size(config.Arch["name"]):
            with paddle.utils.unique_name.guard():
                small = build_network(setup, prepares=False)
                if config.Optimizer.backbone_lr_factor == 0:
                    freeze_backbone(small)
            expected = _measure_kept(small, channels, LARGE) * (size / LARGE) ** 2
            del small
            if expected > min(processes.gather(usable_memory())):  # one image alone would not fit
                return expected
        return _measure_kept(network, channels, size)


def _measure_kept(network: paddle.nn.Layer, channels: int, size: int) -> int:
    statistics = [(value, value.numpy().copy()) for value in network.state_dict().values() if value.stop_gradient]
    training = network.training
    own = {p.data_ptr() for p in network.parameters()}
    kept: dict[int, paddle.Tensor] = {}  # by address: several layers may keep the same tensor

    def note(tensor):
        # Tensors without data, of which only the shape is needed, are kept too.
        if tensor._is_initialized() and tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor
        return tensor

    network.train()
    paddle.jit.enable_to_static(False)  # the hooks see no tensors of a static graph
    with paddle.autograd.saved_tensors_hooks(note, lambda tensor: tensor):
        network(*blank_inputs(network, channels, size))
    paddle.jit.enable_to_static(True)
    result = sum(map(_size, kept.values()))
    # The image has changed the running statistics.
    for value, before in statistics:
        value.set_value(before)
    if not training:
        network.eval()
    return result


def _size(tensor: paddle.Tensor) -> int:
    return int(tensor.size) * tensor.element_size()
