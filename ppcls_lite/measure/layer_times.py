"""Where the time of a forward pass goes, layer by layer."""

import statistics
import time
from collections.abc import Callable

from paddle import nn

from ppcls_lite.device import synchronize
from ppcls_lite.measure.complexity import layers_with_parameters

REST = "(no parameters)"


def time_layers(network: nn.Layer, call: Callable[[], object], rounds: int) -> dict[str, float]:
    """Time the layers that have parameters, in the order in which they run, and the rest.

    On a GPU each layer is waited for, which makes the whole slower than it is without measuring.

    Args:
        network: the network that ``call`` runs once.
        call: a forward pass.
        rounds: measured calls; the first one is not among them.

    Returns:
        Median seconds by name. The last one, ``REST``, is pooling, activations, additions and concatenation, and the
        measuring itself.
    """
    passes: list[dict[str, float]] = []
    begun = 0.0

    def begin(_layer, _inputs):
        nonlocal begun
        synchronize()
        begun = time.perf_counter()

    def end(name):
        def hook(_layer, _inputs, _output):
            synchronize()
            passes[-1][name] = passes[-1].get(name, 0.0) + time.perf_counter() - begun

        return hook

    hooks = []
    for name, layer in layers_with_parameters(network):
        hooks += [layer.register_forward_pre_hook(begin), layer.register_forward_post_hook(end(name))]
    try:
        for _ in range(1 + rounds):
            passes.append({})
            start = time.perf_counter()
            call()
            passes[-1][REST] = time.perf_counter() - start - sum(passes[-1].values())
    finally:
        for hook in hooks:
            hook.remove()
    return {name: statistics.median(one[name] for one in passes[1:]) for name in passes[1]}
