"""What stands on a network's pooled features."""

from collections.abc import Callable

from paddle import Tensor, nn
from paddle.nn import functional as F


class Backbone:
    """Mixin of all networks: ``forward(x) = head(forward_pooled(x))``, in float32.

    A network defines ``forward_pooled``, from images [N, C, H, W] to pooled features [N, F], and ``head_name``, the
    path of its last layer. Its float32 output [N, outputs] is what tasks take: under automatic mixed precision losses
    are computed outside the autocast.
    """

    head_name = "fc"

    def forward(self, x: Tensor) -> Tensor:
        return get_head(self)(self.forward_pooled(x)).astype("float32")


def get_head(network: nn.Layer) -> nn.Layer:
    """The network's last layer."""
    layer = network
    for name in network.head_name.split("."):
        layer = getattr(layer, name)
    return layer


def replace_head(network: nn.Layer, change: Callable[[nn.Linear], nn.Layer]) -> None:
    """Put ``change(head)`` in the place of the network's last layer."""
    *path, name = network.head_name.split(".")
    parent = network
    for part in path:
        parent = getattr(parent, part)
    parent.add_sublayer(name, change(get_head(network)))


class StandardizedLinear(nn.Layer):
    """A fully connected layer whose output is multiplied by ``std`` and shifted by ``mean``, stored with its weights.

    So a network of standardised targets puts out numbers in the target's unit, wherever it runs.
    """

    def __init__(self, linear: nn.Linear, mean: float, std: float):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        # As parameters, which unlike buffers have names that a resumed process gives again.
        self.mean, self.std = (
            self.create_parameter([1], default_initializer=nn.initializer.Constant(value)) for value in (mean, std)
        )
        self.mean.stop_gradient = self.std.stop_gradient = True

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias).astype("float32") * self.std + self.mean
