"""Where the time of a forward pass goes, layer by layer."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from paddle import nn

from ppcls_lite.device import synchronize
from ppcls_lite.measure.complexity import layers_with_parameters


@dataclass(frozen=True)
class LayerTime:
    """Median seconds of a layer in a forward pass; ``name`` is None for all that is no layer with parameters.

    That is pooling, activations, additions and concatenation, and the measuring itself.
    """

    name: str | None
    seconds: float


def time_layers(network: nn.Layer, call: Callable[[], object], rounds: int) -> list[LayerTime]:
    """Time the layers that have parameters, in the order in which they run, and the rest.

    On a GPU each layer is waited for, which makes the whole slower than it is without measuring.

    Args:
        network: the network that ``call`` runs once.
        call: a forward pass.
        rounds: measured calls; the first one is not among them.
    """
    passes: list[dict[str | None, float]] = []
    begun = {}

    def begin(name):
        def hook(_layer, _inputs):
            synchronize()
            begun[name] = time.perf_counter()

        return hook

    def end(name):
        def hook(_layer, _inputs, _output):
            synchronize()
            passes[-1][name] = passes[-1].get(name, 0.0) + time.perf_counter() - begun[name]

        return hook

    hooks = []
    for name, layer in layers_with_parameters(network):
        hooks += [layer.register_forward_pre_hook(begin(name)), layer.register_forward_post_hook(end(name))]
    try:
        for _ in range(1 + rounds):
            passes.append({})
            start = time.perf_counter()
            call()
            passes[-1][None] = time.perf_counter() - start - sum(passes[-1].values())
    finally:
        for hook in hooks:
            hook.remove()
    return [LayerTime(name, statistics.median(one[name] for one in passes[1:])) for name in passes[1]]
