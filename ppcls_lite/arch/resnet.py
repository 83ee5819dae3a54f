"""ResNet and Oct-ResNet, for ImageNet and CIFAR sizes.

Papers: He et al., arXiv:1512.03385 (Tables 1 and 6); Chen et al., "Drop an Octave", arXiv:1904.05049 (section 4.2).
Code consulted: facebookresearch/OctConv and d-li14/octconv.pytorch (where the low branch begins and ends, names).
"""

from typing import Annotated

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.arch.base import Backbone, initialize_convolutions, scaled_channels
from ppcls_lite.arch.octave import ConvBN, ConvBNAct, OctaveInput, Pair, relu
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import ADDED, Channels, Classes, Downsample, Exchange, Fraction, Init, Stem, Width


class BasicBlock(nn.Layer):
    """Residual block on both branches: relu(f(x) + shortcut(x)), where f is two 3x3 convolutions.

    The first convolution has the stride.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, alpha_in: float, alpha_out: float, options: dict):
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, width, 3, alpha_in, alpha_out, stride, 1, **options)
        self.conv2 = ConvBN(width, width, 3, alpha_out, alpha_out, 1, 1, **options)
        self.downsample = _projection(in_channels, width, stride, alpha_in, alpha_out, options)

    def forward(self, x: Tensor | Pair) -> Pair:
        x = OctaveInput(x)
        return relu(self.conv2(self.conv1(x), _shortcut(x, self.downsample)))


class Bottleneck(nn.Layer):
    """Residual block on both branches: relu(f(x) + shortcut(x)), where f is 1x1, 3x3 and 1x1 convolutions.

    The last convolution has four times the width. The 3x3 convolution has the stride (layout v1b).
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, alpha_in: float, alpha_out: float, options: dict):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = ConvBNAct(in_channels, width, 1, alpha_in, alpha_out, **options)
        self.conv2 = ConvBNAct(width, width, 3, alpha_out, alpha_out, stride, 1, **options)
        self.conv3 = ConvBN(width, out_channels, 1, alpha_out, alpha_out, **options)
        self.downsample = _projection(in_channels, out_channels, stride, alpha_in, alpha_out, options)

    def forward(self, x: Tensor | Pair) -> Pair:
        x = OctaveInput(x)
        return relu(self.conv3(self.conv2(self.conv1(x)), _shortcut(x, self.downsample)))


def _projection(
    in_channels: int, out_channels: int, stride: int, alpha_in: float, alpha_out: float, options: dict
) -> nn.Sequential | None:
    """The shortcut's 1x1 convolution, or None if neither the shape nor the split into branches changes."""
    if stride == 1 and in_channels == out_channels and alpha_in == alpha_out:
        return None
    return nn.Sequential(ConvBN(in_channels, out_channels, 1, alpha_in, alpha_out, stride, **options))


def _shortcut(x: OctaveInput, projection: nn.Sequential | None) -> Pair:
    return projection(x) if projection is not None else (x.x_h, x.x_l)


class OctResNet(Backbone, nn.Layer):
    """Plain stem, stages of residual blocks, average pooling of the high branch, classifier.

    The first block creates the low branch, and the first block of the last stage removes it. ``alpha=0`` with
    ``downsample="stride"`` is ResNet.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        layers, widths: blocks and width of each stage.
        num_classes: number of outputs.
        alpha: share of low channels.
        scale: width multiplier.
        stem: ``"imagenet"`` (7x7 convolution and 3x3 max pooling, both with stride 2) or ``"cifar"`` (3x3 convolution).
        bias: bias in all convolutions, as in the article's networks; redundant before batch norm.
        init: ``"kaiming"`` or ``"paddle"``.
        downsample, exchange: see :class:`~ppcls_lite.arch.octave.OctaveConv`.

    Input [N, in_channels, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: tuple[int, ...],
        widths: tuple[int, ...],
        *,
        num_classes: Classes = 1000,
        in_channels: Channels = 3,
        alpha: Fraction = 0.5,
        scale: Annotated[Width, ADDED] = 1.0,
        stem: Stem = "imagenet",
        bias: bool = False,
        init: Init = "kaiming",
        downsample: Downsample = "pool",
        exchange: Exchange = "both",
    ):
        super().__init__()
        options = {"bias": bias, "downsample": downsample, "exchange": exchange}
        widths = tuple(scaled_channels(width, scale) for width in widths)
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        bias_attr = None if bias else False
        self.conv1 = nn.Conv2D(in_channels, widths[0], kernel, stride=stride, padding=kernel // 2, bias_attr=bias_attr)
        self.bn1 = nn.BatchNorm2D(widths[0])
        self.maxpool = nn.MaxPool2D(3, 2, padding=1) if stem == "imagenet" else None
        stride = 4 if stem == "imagenet" else 1

        channels, alpha_in = widths[0], 0.0
        self.feature_strides, self.feature_channels = [], []
        for i, (width, depth) in enumerate(zip(widths, layers, strict=True)):
            alpha_out = 0.0 if i + 1 == len(layers) else alpha
            blocks = []
            for j in range(depth):
                block_stride = 2 if i > 0 and j == 0 else 1
                blocks.append(block(channels, width, block_stride, alpha_in, alpha_out, options))
                channels, alpha_in, stride = width * block.expansion, alpha_out, stride * block_stride
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.feature_strides.append(stride)
            self.feature_channels.append(channels)

        self.avgpool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(channels, num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor | Pair]:
        """Outputs of the stages, highest resolution first: a pair if the stage has a low branch, else a tensor."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x) if self.maxpool is not None else x
        outputs = []
        for i in range(len(self.feature_strides)):
            x = getattr(self, f"layer{i + 1}")(x)
            outputs.append(x if x[1] is not None else x[0])
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last stage's output."""
        return self.avgpool(x).flatten(1)


# Block, blocks per stage, widths. 26 and 200 layers as in the OctConv paper, 20 and 56 for CIFAR.
VARIANTS = {
    20: (BasicBlock, (3, 3, 3), (16, 32, 64)),
    26: (Bottleneck, (2, 2, 2, 2), (64, 128, 256, 512)),
    50: (Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
    56: (BasicBlock, (9, 9, 9), (16, 32, 64)),
    101: (Bottleneck, (3, 4, 23, 3), (64, 128, 256, 512)),
    152: (Bottleneck, (3, 8, 36, 3), (64, 128, 256, 512)),
    200: (Bottleneck, (3, 24, 36, 3), (64, 128, 256, 512)),
}


@register_model
def oct_resnet26(**options) -> OctResNet:
    """Oct-ResNet-26."""
    return OctResNet(*VARIANTS[26], **options)


@register_model
def resnet26(*, downsample: Downsample = "stride", **options) -> OctResNet:
    """ResNet-26."""
    return OctResNet(*VARIANTS[26], alpha=0.0, exchange="both", downsample=downsample, **options)


@register_model
def oct_resnet50(**options) -> OctResNet:
    """Oct-ResNet-50."""
    return OctResNet(*VARIANTS[50], **options)


@register_model
def resnet50(*, downsample: Downsample = "stride", **options) -> OctResNet:
    """ResNet-50."""
    return OctResNet(*VARIANTS[50], alpha=0.0, exchange="both", downsample=downsample, **options)


@register_model
def oct_resnet101(**options) -> OctResNet:
    """Oct-ResNet-101."""
    return OctResNet(*VARIANTS[101], **options)


@register_model
def resnet101(*, downsample: Downsample = "stride", **options) -> OctResNet:
    """ResNet-101."""
    return OctResNet(*VARIANTS[101], alpha=0.0, exchange="both", downsample=downsample, **options)


@register_model
def oct_resnet152(**options) -> OctResNet:
    """Oct-ResNet-152."""
    return OctResNet(*VARIANTS[152], **options)


@register_model
def resnet152(*, downsample: Downsample = "stride", **options) -> OctResNet:
    """ResNet-152."""
    return OctResNet(*VARIANTS[152], alpha=0.0, exchange="both", downsample=downsample, **options)


@register_model
def oct_resnet200(**options) -> OctResNet:
    """Oct-ResNet-200."""
    return OctResNet(*VARIANTS[200], **options)


@register_model
def resnet200(*, downsample: Downsample = "stride", **options) -> OctResNet:
    """ResNet-200."""
    return OctResNet(*VARIANTS[200], alpha=0.0, exchange="both", downsample=downsample, **options)


@register_model
def oct_resnet20(*, num_classes: Classes = 10, stem: Stem = "cifar", **options) -> OctResNet:
    """Oct-ResNet-20 for CIFAR. Its first block has a projection of 288 parameters that ResNet-20 does not have."""
    return OctResNet(*VARIANTS[20], num_classes=num_classes, stem=stem, **options)


@register_model
def resnet20(
    *, num_classes: Classes = 10, stem: Stem = "cifar", downsample: Downsample = "stride", **options
) -> OctResNet:
    """ResNet-20 for CIFAR, with projection shortcuts (ResNet paper, option B)."""
    return OctResNet(
        *VARIANTS[20], num_classes=num_classes, alpha=0.0, exchange="both", stem=stem, downsample=downsample, **options
    )


@register_model
def oct_resnet56(*, num_classes: Classes = 10, stem: Stem = "cifar", **options) -> OctResNet:
    """Oct-ResNet-56 for CIFAR. Its first block has a projection of 288 parameters that ResNet-56 does not have."""
    return OctResNet(*VARIANTS[56], num_classes=num_classes, stem=stem, **options)


@register_model
def resnet56(
    *, num_classes: Classes = 10, stem: Stem = "cifar", downsample: Downsample = "stride", **options
) -> OctResNet:
    """ResNet-56 for CIFAR, with projection shortcuts (ResNet paper, option B)."""
    return OctResNet(
        *VARIANTS[56], num_classes=num_classes, alpha=0.0, exchange="both", stem=stem, downsample=downsample, **options
    )
