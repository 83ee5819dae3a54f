"""Parts shared by all networks: initialization, widths, and the head, which is the last layer."""

from collections.abc import Callable

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.utils.errors import UserError

NORMS = (nn.BatchNorm2D, nn.BatchNorm)  # paddle.vision's DenseNet has the latter


class Backbone:
    """Mixin of all networks: ``forward(x) = forward_head(pool_features(forward_features(x)[-1]))``, in float32.

    A network defines ``forward_features``, from images [N, C, H, W] to the outputs of its stages, of which the last is
    a tensor; ``pool_features``, from that tensor to pooled features [N, F]; and ``head_name``, the path of its last
    layer. The output [N, outputs] is float32 because losses are computed outside of AMP's autocast.

    A network that also takes a table's rows [N, ``table_width``] has a head for both (``arch.mlp.JointHead``).
    """

    head_name = "fc"
    takes_images = True
    table_width = 0

    def forward(self, x: Tensor) -> Tensor:  # paddle.Model counts the arguments; see arch.mlp.join_table for two
        return self.forward_head(self.forward_pooled(x)).astype("float32")

    def forward_pooled(self, x: Tensor) -> Tensor:
        """Input of the last layer [N, F]."""
        return self.pool_features(self.forward_features(x)[-1])

    def forward_head(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """Output [N, outputs] of the last layer, from its input [N, F] and a table's rows if it takes them."""
        return get_head(self)(x) if table is None else get_head(self)(x, table)


def blank_inputs(network: nn.Layer, channels: int, size: int) -> list[Tensor]:
    """Zeros as a network takes them: an image [1, channels, size, size], a table's row [1, table_width], or both."""
    takes_images, width = getattr(network, "takes_images", True), getattr(network, "table_width", 0)
    shapes = [[1, channels, size, size]] * takes_images + [[1, width]] * (width > 0)
    return [paddle.zeros(shape) for shape in shapes]


def get_head(network: nn.Layer) -> nn.Layer:
    """The network's last layer."""
    layer = network
    for name in network.head_name.split("."):
        layer = getattr(layer, name)
    return layer


def replace_head(network: nn.Layer, change: Callable[[nn.Linear], nn.Layer]) -> None:
    """Replace the network's last layer by ``change(layer)``."""
    head = change(get_head(network))
    *path, name = network.head_name.split(".")
    parent = network
    for part in path:
        parent = getattr(parent, part)
    parent.add_sublayer(name, head)


class StandardizedLinear(nn.Layer):
    """A linear layer, then multiplication by ``std`` and addition of ``mean``, which are stored with its weights.

    A network trained on standardized targets thus returns values in the target's unit.
    """

    def __init__(self, linear: nn.Linear, mean: float, std: float):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        # Parameters, because the names of buffers change when a run is resumed.
        self.mean, self.std = (
            self.create_parameter([1], default_initializer=nn.initializer.Constant(value)) for value in (mean, std)
        )
        self.mean.stop_gradient = self.std.stop_gradient = True

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias).astype("float32") * self.std + self.mean


class Heads(nn.LayerDict):
    """Layers by name on the same features; their float32 outputs [N, outputs] are concatenated in order."""

    def forward(self, x: Tensor) -> Tensor:
        return paddle.concat([head(x).astype("float32") for head in self.values()], axis=1)


def backbone_parameters(network: nn.Layer) -> list[Tensor]:
    """The parameters outside of the head, with the running statistics of batch norms."""
    head = {id(p) for p in get_head(network).parameters()}
    return [p for p in network.parameters() if id(p) not in head]


def freeze_backbone(network: nn.Layer) -> None:
    """Let training change the head only: batch norms of the backbone use their running statistics in any mode.

    Not for ``nn.SyncBatchNorm``, which ignores that.
    """
    for p in backbone_parameters(network):
        p.is_frozen, p.stop_gradient = not p.stop_gradient, True
    for layer in network.sublayers():
        if isinstance(layer, NORMS):
            layer._use_global_stats = True  # ``training`` would not last: Model.fit sets it before each step


def initialize_convolutions(network: nn.Layer, init: str) -> None:
    """Initialize convolution weights: ``kaiming`` (normal, variance 2 / fan-in) or ``paddle`` (paddle's default).

    Paddle's default ignores groups, so depthwise weights start smaller by a factor of sqrt(C).
    """
    if init == "paddle":
        return
    kaiming = nn.initializer.KaimingNormal()
    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D):
            kaiming(layer.weight)


def scaled_channels(channels: int, scale: float) -> int:
    """``int(channels * scale)``, as in ``paddle.vision.models``.

    Raises:
        UserError: the result is 0.
    """
    scaled = int(channels * scale)
    if scaled < 1:
        raise UserError(f"scale {scale:g} leaves no channel of {channels}; set a larger one")
    return scaled
