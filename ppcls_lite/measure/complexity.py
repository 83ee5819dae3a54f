"""Parameters, multiply-adds, memory access cost and activations, counted as papers do; and the time of each layer.

Multiply-adds ("FLOPs" in the OctConv and VoVNet papers) are those of convolutions and fully connected layers for one
image; batch norm, pooling and additions are not counted. ``paddle.flops`` counts batch norm and pooling too, and counts
functional operators as 0, so its results do not match papers.

Memory access cost (VoVNet paper, equation 1) of a convolution is h w (c_in + c_out) + k k c_in c_out elements, where h
and w are the sides of the output and the last term is the stored weights; fully connected layers have h = w = 1.
Activations (Radosavovic et al., arXiv:2003.13678) are the output elements of convolutions and fully connected layers.
"""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import paddle
from paddle import Tensor, nn

from ppcls_lite.arch.base import StandardizedLinear, blank_inputs
from ppcls_lite.utils.device import synchronize

REST = "(no parameters)"


@dataclass(frozen=True)
class LayerCost:
    """One layer's cost for one image: trainable parameters, multiply-adds, memory access cost, activations."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    memory_access: int
    activations: int


def count_params(network: nn.Layer) -> int:
    """Trainable parameters, and those frozen by ``freeze_backbone``, without the statistics of batch norm."""
    return sum(int(p.size) for p in network.parameters() if not p.stop_gradient or getattr(p, "is_frozen", False))


def count_macs(network: nn.Layer, image_size: int, channels: int = 3) -> int:
    """Multiply-adds for one image of ``image_size`` x ``image_size`` pixels."""
    return sum(layer.macs for layer in profile_layers(network, image_size, channels))


def profile_layers(network: nn.Layer, image_size: int, channels: int = 3) -> list[LayerCost]:
    """Cost of every layer that has parameters, in execution order; layers that never run are left out.

    Runs one forward pass in evaluation mode, then restores the network's mode.
    """
    costs: list[LayerCost] = []

    def record(name: str, layer: nn.Layer, output: Tensor) -> None:
        shape, params = tuple(output.shape), count_params(layer)
        costs.append(LayerCost(name, type(layer).__name__, shape, params, *_costs(layer, output)))

    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad(), _hooks(network, lambda: None, record):
            network(*blank_inputs(network, channels, image_size))
    finally:
        if was_training:
            network.train()
    return costs


def time_layers(network: nn.Layer, call: Callable[[], object], rounds: int) -> dict[str, float]:
    """Time the layers that have parameters, in execution order, and the rest.

    On a GPU it waits for each layer, so the sum is larger than the time without measuring.

    Args:
        network: the network that ``call`` runs once.
        call: a forward pass.
        rounds: measured calls, after one call as a warm-up.

    Returns:
        Median seconds by layer name. The last entry, ``REST``, is pooling, activations, additions, concatenation and
        the overhead of measuring.
    """
    passes: list[dict[str, float]] = []
    begun = 0.0

    def begin() -> None:
        nonlocal begun
        synchronize()
        begun = time.perf_counter()

    def end(name: str, _layer: nn.Layer, _output: Tensor) -> None:
        synchronize()
        passes[-1][name] = passes[-1].get(name, 0.0) + time.perf_counter() - begun

    with _hooks(network, begin, end):
        for _ in range(1 + rounds):
            passes.append({})
            start = time.perf_counter()
            call()
            passes[-1][REST] = time.perf_counter() - start - sum(passes[-1].values())
    return {name: statistics.median(one[name] for one in passes[1:]) for name in passes[1]}


@contextlib.contextmanager
def _hooks(network: nn.Layer, begin: Callable[[], None], end: Callable[[str, nn.Layer, Tensor], None]):
    """Call ``begin()`` before and ``end(name, layer, output)`` after each innermost layer that has parameters."""
    hooks = []
    for name, layer in network.named_sublayers():
        if not layer.sublayers() and layer.parameters(include_sublayers=False):
            hooks.append(layer.register_forward_pre_hook(lambda _layer, _inputs: begin()))
            hooks.append(
                layer.register_forward_post_hook(lambda layer, _inputs, output, name=name: end(name, layer, output))
            )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _costs(layer: nn.Layer, output: Tensor) -> tuple[int, int, int]:
    """Multiply-adds, memory access cost, activations."""
    size = int(output.size)
    if isinstance(layer, nn.Conv2D):
        c_out, per_group, k_h, k_w = layer.weight.shape  # [out, in / groups, k, k]
        access = size // c_out * (layer._in_channels + c_out) + int(layer.weight.size)
        return size * per_group * k_h * k_w, access, size
    if isinstance(layer, nn.Linear | StandardizedLinear):
        c_in, c_out = layer.weight.shape
        return size * c_in, c_in + c_out + c_in * c_out, size
    return 0, 0, 0
