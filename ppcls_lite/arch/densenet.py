"""DenseNet for ImageNet (from paddle.vision) and for CIFAR.

Paper: Huang et al., "Densely Connected Convolutional Networks", arXiv:1608.06993 (section 3, Table 1).
Code consulted: liuzhuang13/DenseNet (CIFAR widths, transitions, the recipe).
"""

from collections.abc import Callable

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F
from paddle.vision.models import DenseNet as VisionDenseNet

from ppcls_lite.arch.base import Backbone, initialize_convolutions
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import Channels, Classes, Depth, Fraction, Growth, Init
from ppcls_lite.utils.errors import UserError


class BNReLUConv(nn.Layer):
    """Pre-activation: conv(relu(bn(x))), with "same" padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__()
        self.bn = nn.BatchNorm2D(in_channels)
        self.conv = nn.Conv2D(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.bn(x)))


class DenseBlock(nn.Layer):
    """``depth`` layers; each takes the concatenation of the block's input and the outputs of all previous layers.

    Args:
        in_channels: channels of the input.
        growth: output channels of each layer.
        depth: number of layers.
        bottleneck: add a 1x1 convolution to ``4 * growth`` channels before each 3x3 convolution (DenseNet-B).
    """

    def __init__(self, in_channels: int, growth: int, depth: int, bottleneck: bool = False):
        super().__init__()
        layers = []
        for i in range(depth):
            channels = in_channels + i * growth
            if bottleneck:
                layers.append(nn.Sequential(BNReLUConv(channels, 4 * growth, 1), BNReLUConv(4 * growth, growth)))
            else:
                layers.append(BNReLUConv(channels, growth))
        self.layers = nn.LayerList(layers)
        self.out_channels = in_channels + depth * growth

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = paddle.concat([x, layer(x)], axis=1)
        return x


class CifarDenseNet(Backbone, nn.Layer):
    """3x3 convolution, three blocks with transitions (1x1 convolution, 2x2 average pooling) between them, classifier.

    Args:
        build_block: builds a block with attribute ``out_channels`` from the number of input channels.
        stem_channels: channels of the first convolution.
        compression: share of channels that a transition keeps (DenseNet-C).
        last_channels: width of one more transition, without pooling, after the last block; None for none.
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"``.

    Input [N, in_channels, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    feature_strides = (1, 2, 4)

    def __init__(
        self,
        build_block: Callable[[int], nn.Layer],
        stem_channels: int,
        compression: float = 1.0,
        last_channels: int | None = None,
        *,
        num_classes: Classes = 10,
        in_channels: Channels = 3,
        init: Init = "kaiming",
    ):
        super().__init__()
        self.conv = nn.Conv2D(in_channels, stem_channels, 3, padding=1, bias_attr=False)
        self.blocks, self.transitions = nn.LayerList(), nn.LayerList()
        self.feature_channels = []
        channels = stem_channels
        for i in range(len(self.feature_strides)):
            block = build_block(channels)
            self.blocks.append(block)
            self.feature_channels.append(block.out_channels)
            last = i + 1 == len(self.feature_strides)
            channels = (last_channels or block.out_channels) if last else int(compression * block.out_channels)
            if not last or last_channels:
                self.transitions.append(BNReLUConv(block.out_channels, channels, 1))
        self.bn = nn.BatchNorm2D(channels)
        self.fc = nn.Linear(channels, num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the three blocks, highest resolution first."""
        x = self.conv(x)
        outputs = []
        for i, block in enumerate(self.blocks):
            if i:
                x = F.avg_pool2d(self.transitions[i - 1](x), 2)
            x = block(x)
            outputs.append(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last block's output."""
        if len(self.transitions) == len(self.blocks):
            x = self.transitions[-1](x)
        return F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1).flatten(1)


class DenseNet(Backbone, VisionDenseNet):
    """``paddle.vision.models.DenseNet`` for ImageNet, with ``forward_features``.

    Args:
        depth: 121, 161, 169 or 201.
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.

    Input [N, 3, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    feature_strides = (4, 8, 16, 32)
    head_name = "out"

    def __init__(self, depth: int, *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(layers=depth, num_classes=num_classes)
        channels, growth = (96, 48) if depth == 161 else (64, 32)
        self.feature_channels = []
        for layers in self.block_config:
            channels += layers * growth
            self.feature_channels.append(channels)
            channels //= 2
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the four blocks, highest resolution first."""
        x = self.pool2d_max(self.conv1_func(x))
        outputs = []
        for i, block in enumerate(self.dense_block_func_list):
            x = block(self.transition_func_list[i - 1](x) if i else x)
            outputs.append(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last block's output."""
        return self.pool2d_avg(self.batch_norm(x)).flatten(1)


@register_model
def densenet121(**options) -> DenseNet:
    """DenseNet-121 (8.0M parameters, 2.83G multiply-adds)."""
    return DenseNet(121, **options)


@register_model
def densenet161(**options) -> DenseNet:
    """DenseNet-161 (28.7M parameters, 7.73G multiply-adds)."""
    return DenseNet(161, **options)


@register_model
def densenet169(**options) -> DenseNet:
    """DenseNet-169 (14.1M parameters)."""
    return DenseNet(169, **options)


@register_model
def densenet201(**options) -> DenseNet:
    """DenseNet-201 (20.0M parameters, 4.29G multiply-adds)."""
    return DenseNet(201, **options)


@register_model
def densenet_cifar(
    *,
    depth: Depth = 100,
    growth: Growth = 12,
    bottleneck: bool = True,
    compression: Fraction = 0.5,
    num_classes: Classes = 10,
    in_channels: Channels = 3,
    init: Init = "kaiming",
) -> CifarDenseNet:
    """DenseNet for CIFAR of any depth and growth. The defaults are DenseNet-BC (100, 12): 0.8M parameters.

    Raises:
        UserError: invalid depth, or a compression that leaves no channel.
    """
    step = 6 if bottleneck else 3
    if depth < step + 4 or (depth - 4) % step:
        raise UserError(
            f"depth is {depth}, expected {step} n + 4, such as 40, for bottleneck={str(bottleneck).lower()}"
        )
    if int(compression * growth) < 1:
        raise UserError(f"compression is {compression:g}, which leaves no channel; set a larger one")
    options = {"num_classes": num_classes, "in_channels": in_channels, "init": init}
    stem_channels = 2 * growth if bottleneck else 16
    blocks = (depth - 4) // step
    return CifarDenseNet(lambda c: DenseBlock(c, growth, blocks, bottleneck), stem_channels, compression, **options)


@register_model
def densenet40(*, num_classes: Classes = 10, in_channels: Channels = 3, init: Init = "kaiming") -> CifarDenseNet:
    """DenseNet-40 (growth 12), the baseline of the VoVNet paper's analysis: 1.0M parameters."""
    options = {"num_classes": num_classes, "in_channels": in_channels, "init": init}
    return CifarDenseNet(lambda channels: DenseBlock(channels, 12, 12), 16, **options)
