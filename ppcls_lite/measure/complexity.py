"""Parameters, multiply-adds, memory access cost and activations, as papers count them.

Multiply-adds ("FLOPs" in the OctConv and VoVNet papers) are those of convolutions and fully connected layers for one
image; batch norm, pooling and additions are not counted. ``paddle.flops`` counts those too, and functional operators as
0, so its figures cannot be compared with papers.

Memory access cost (VoVNet paper, equation 1) is h w (c_in + c_out) + k k c_in c_out for a convolution, in elements. The
output's sides are h and w, the last term is the weights that are stored; fully connected layers have h = w = 1.
Activations (Radosavovic et al., arXiv:2003.13678) are the elements that convolutions and fully connected layers put
out.
"""

from dataclasses import dataclass

import paddle
from paddle import Tensor, nn


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
    """Trainable parameters; batch-norm statistics are not among them."""
    return sum(int(p.size) for p in network.parameters() if not p.stop_gradient)


def count_macs(network: nn.Layer, image_size: int, channels: int = 3) -> int:
    """Multiply-adds for one image of ``image_size`` x ``image_size`` pixels."""
    return sum(layer.macs for layer in profile_layers(network, image_size, channels))


def layers_with_parameters(network: nn.Layer) -> list[tuple[str, nn.Layer]]:
    """The innermost layers that have parameters, by name."""
    return [
        (name, layer)
        for name, layer in network.named_sublayers()
        if not layer.sublayers() and layer.parameters(include_sublayers=False)
    ]


def profile_layers(network: nn.Layer, image_size: int, channels: int = 3) -> list[LayerCost]:
    """Cost of every layer that has parameters, in the order in which they run (a layer that never runs is left out).

    Runs one forward pass in evaluation mode and leaves the network's mode as it was.
    """
    costs: list[LayerCost] = []

    def record(name: str):
        def hook(layer: nn.Layer, _inputs, output: Tensor) -> None:
            params = sum(int(p.size) for p in layer.parameters() if not p.stop_gradient)
            costs.append(LayerCost(name, type(layer).__name__, tuple(output.shape), params, *_costs(layer, output)))

        return hook

    hooks = [layer.register_forward_post_hook(record(name)) for name, layer in layers_with_parameters(network)]
    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad():
            network(paddle.zeros([1, channels, image_size, image_size]))
    finally:
        for hook in hooks:
            hook.remove()
        if was_training:
            network.train()
    return costs


def _costs(layer: nn.Layer, output: Tensor) -> tuple[int, int, int]:
    """Multiply-adds, memory access cost, activations."""
    size = int(output.size)
    if isinstance(layer, nn.Conv2D):
        c_out, per_group, k_h, k_w = layer.weight.shape  # [out, in / groups, k, k]
        access = size // c_out * (layer._in_channels + c_out) + int(layer.weight.size)
        return size * per_group * k_h * k_w, access, size
    if isinstance(layer, nn.Linear):
        c_in, c_out = layer.weight.shape
        return size * c_in, c_in + c_out + c_in * c_out, size
    return 0, 0, 0
