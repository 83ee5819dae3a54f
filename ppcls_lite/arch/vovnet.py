"""VoVNet, and DenseNet-40 with one-shot aggregation instead of dense blocks.

Paper: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object Detection",
arXiv:1904.09730 (Table 1, sections 3 and 4.1).
Code consulted: stigma0617/VoVNet.pytorch (stem, identity shortcuts, pooling in ceil mode).
"""

from collections.abc import Callable
from typing import Annotated

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.arch.base import Backbone, initialize_convolutions, scaled_channels
from ppcls_lite.arch.densenet import BNReLUConv, CifarDenseNet
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import ADDED, Channels, Classes, Init, VoVStem, Width

DEPTH = 5  # 3x3 convolutions per module
STEM = (64, 128)  # channels of the first two convolutions, and of the third

# By stage: widths of the 3x3 convolutions, output channels of the modules, number of modules.
VARIANTS = {
    "27_slim": ((64, 80, 96, 112), (128, 256, 384, 512), (1, 1, 1, 1)),
    "39": ((128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 2, 2)),
    "57": ((128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 4, 3)),
}


class ConvBNReLU(nn.Layer):
    """relu(bn(conv(x)))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2D(in_channels, out_channels, kernel_size, stride, padding, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class OneShotAggregation(nn.Layer):
    """A sequence of layers; returns the concatenation of the input and all their outputs (paper Figure 1b).

    Args:
        in_channels: channels of the input.
        width: output channels of each layer.
        depth: number of layers.
        build_layer: builds a layer from its numbers of input and output channels.
    """

    def __init__(self, in_channels: int, width: int, depth: int, build_layer: Callable[[int, int], nn.Layer]):
        super().__init__()
        self.layers = nn.LayerList([build_layer(width if i else in_channels, width) for i in range(depth)])
        self.out_channels = in_channels + depth * width

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return paddle.concat(outputs, axis=1)


class OSAModule(nn.Layer):
    """relu(bn(conv1x1(aggregation of five 3x3 convolutions))), plus the input if ``identity``."""

    def __init__(self, in_channels: int, width: int, out_channels: int, identity: bool, bottleneck: bool):
        super().__init__()
        self.aggregation = OneShotAggregation(in_channels, width, DEPTH, _narrowed if bottleneck else ConvBNReLU)
        self.concat = ConvBNReLU(self.aggregation.out_channels, out_channels, 1)
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        y = self.concat(self.aggregation(x))
        return y + x if self.identity else y


def _narrowed(in_channels: int, width: int) -> nn.Sequential:
    half = max(1, width // 2)
    return nn.Sequential(ConvBNReLU(in_channels, half, 1), ConvBNReLU(half, width))


class VoVNet(Backbone, nn.Layer):
    """Three 3x3 convolutions, four stages of OSA modules, average pooling, classifier.

    Args:
        widths, channels, modules: by stage, the widths of the 3x3 convolutions, the output channels of the modules and
            the number of modules.
        num_classes: number of outputs.
        stem: strides of the first convolutions. ``"code"`` (the author's code: 2, 1, 2; pooling before stages 3 to 5),
            ``"paper"`` (Table 1: 2, 1, 1; pooling before every stage) or ``"cifar"`` (1, 1, 1; before stages 3 to 5).
        identity: all but the first module of a stage add their input, as in the author's code but not in the paper.
        bottleneck: add a 1x1 convolution to half the width before each 3x3 convolution. According to the paper, this
            needs fewer multiply-adds but more time.
        scale: width multiplier.
        init: ``"kaiming"`` or ``"paddle"``.

    Input [N, in_channels, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        channels: tuple[int, ...],
        modules: tuple[int, ...],
        *,
        num_classes: Classes = 1000,
        in_channels: Channels = 3,
        stem: VoVStem = "code",
        identity: bool = True,
        bottleneck: bool = False,
        scale: Annotated[Width, ADDED] = 1.0,
        init: Init = "kaiming",
    ):
        super().__init__()
        widths, channels, (narrow, width_in) = (
            [scaled_channels(width, scale) for width in stage_widths] for stage_widths in (widths, channels, STEM)
        )
        first, third = {"code": (2, 2), "paper": (2, 1), "cifar": (1, 1)}[stem]
        self.stem = nn.Sequential(
            ConvBNReLU(in_channels, narrow, stride=first),
            ConvBNReLU(narrow, narrow),
            ConvBNReLU(narrow, width_in, stride=third),
        )
        self._pooled = [stem == "paper", True, True, True]
        stages = []
        for width, out_channels, depth in zip(widths, channels, modules, strict=True):
            first_module = OSAModule(width_in, width, out_channels, False, bottleneck)
            others = [OSAModule(out_channels, width, out_channels, identity, bottleneck) for _ in range(depth - 1)]
            stages.append(nn.Sequential(first_module, *others))
            width_in = out_channels
        self.stages = nn.LayerList(stages)
        self.feature_channels = channels
        self.feature_strides = [(1 if stem == "cifar" else 4) * 2**i for i in range(len(stages))]
        self.fc = nn.Linear(width_in, num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the four stages, highest resolution first."""
        x = self.stem(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 3, 2, ceil_mode=True) if self._pooled[i] else x)
            outputs.append(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last stage's output."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


@register_model
def vovnet27_slim(**options) -> VoVNet:
    """VoVNet-27-slim (3.5M parameters, 2.18G multiply-adds)."""
    return VoVNet(*VARIANTS["27_slim"], **options)


@register_model
def vovnet39(**options) -> VoVNet:
    """VoVNet-39 (22.6M parameters, 7.07G multiply-adds)."""
    return VoVNet(*VARIANTS["39"], **options)


@register_model
def vovnet57(**options) -> VoVNet:
    """VoVNet-57 (36.6M parameters, 8.93G multiply-adds)."""
    return VoVNet(*VARIANTS["57"], **options)


def _osa40(depth: int, width: int, **options) -> CifarDenseNet:
    """DenseNet-40 with one-shot aggregation, and a third transition to the width of DenseNet-40."""

    def build_block(channels: int) -> OneShotAggregation:
        return OneShotAggregation(channels, width, depth, BNReLUConv)

    return CifarDenseNet(build_block, 16, last_channels=448, **options)


@register_model
def osa40_12x20(*, num_classes: Classes = 10, in_channels: Channels = 3, init: Init = "kaiming") -> CifarDenseNet:
    """DenseNet-40 with OSA blocks of 12 layers with 20 channels each (paper section 3.2: memory access cost 2.5M)."""
    return _osa40(12, 20, num_classes=num_classes, in_channels=in_channels, init=init)


@register_model
def osa40_5x43(*, num_classes: Classes = 10, in_channels: Channels = 3, init: Init = "kaiming") -> CifarDenseNet:
    """DenseNet-40 with OSA blocks of 5 layers with 43 channels each (paper section 3.2)."""
    return _osa40(5, 43, num_classes=num_classes, in_channels=in_channels, init=init)
