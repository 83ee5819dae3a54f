"""MobileNetV1 and Oct-MobileNetV1.

Papers: Howard et al., arXiv:1704.04861 (Table 1); Chen et al., "Drop an Octave", arXiv:1904.05049 (section 4.3).
Code consulted: d-li14/octconv.pytorch (octave ratios per block, parameter names).
"""

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.arch.base import Backbone, initialize_convolutions, scaled_channels
from ppcls_lite.arch.octave import ConvBNAct, Pair
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import (
    Activation,
    Channels,
    Classes,
    Downsample,
    Exchange,
    Fraction,
    Init,
    Padding,
    Stem,
    Width,
)

# Output channels and stride of the 13 depthwise-separable blocks, at width 1.
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


class OctMobileNet(Backbone, nn.Layer):
    """Stem, 13 blocks of 3x3 depthwise and 1x1 octave convolution, average pooling of the high branch, classifier.

    The 1x1 convolution of the first block creates the low branch, and that of the eleventh removes it. ``alpha=0``
    with ``downsample="stride"`` is MobileNetV1.

    Args:
        num_classes: number of outputs.
        alpha: share of low channels.
        scale: width multiplier.
        stem: ``"imagenet"`` (first stride 2, total stride 32) or ``"cifar"`` (first stride 1, total stride 16).
        bias: bias in all convolutions, as in the article's networks; redundant before batch norm.
        init: ``"kaiming"`` or ``"paddle"``.
        downsample, exchange: see :class:`~ppcls_lite.arch.octave.OctaveConv`.
        activation: ``"relu"`` or ``"relu6"``.
        padding: of 3x3 convolutions: ``"symmetric"``, 1 on each side, or ``"same"``, as in TensorFlow: with stride 2
            and an even size 0 before and 1 after. TensorFlow's weights need ``"relu6"`` and ``"same"``.

    Input [N, in_channels, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    def __init__(
        self,
        *,
        num_classes: Classes = 1000,
        in_channels: Channels = 3,
        alpha: Fraction = 0.5,
        scale: Width = 1.0,
        stem: Stem = "imagenet",
        bias: bool = False,
        init: Init = "kaiming",
        downsample: Downsample = "pool",
        exchange: Exchange = "both",
        activation: Activation = "relu",
        padding: Padding = "symmetric",
    ):
        super().__init__()
        pad = 1 if padding == "symmetric" else "SAME"
        act, function = (nn.ReLU(), F.relu) if activation == "relu" else (nn.ReLU6(), F.relu6)
        options = {"bias": bias, "downsample": downsample, "exchange": exchange, "activation": function}
        channels = scaled_channels(32, scale)
        stride = 2 if stem == "imagenet" else 1
        conv = nn.Conv2D(in_channels, channels, 3, stride=stride, padding=pad, bias_attr=None if bias else False)
        features = [nn.Sequential(conv, nn.BatchNorm2D(channels), act)]
        self._stage_ends, self.feature_strides, self.feature_channels = [], [], []

        alphas = [0.0, *[alpha] * 10, 0.0, 0.0, 0.0]
        for i, (width, block_stride) in enumerate(BLOCKS):
            out_channels = scaled_channels(width, scale)
            a_in, a_out = alphas[i], alphas[i + 1]
            depthwise = ConvBNAct(channels, channels, 3, a_in, a_in, block_stride, pad, groups=channels, **options)
            pointwise = ConvBNAct(channels, out_channels, 1, a_in, a_out, **options)
            features.append(nn.Sequential(depthwise, pointwise))
            channels, stride = out_channels, stride * block_stride
            if i + 1 == len(BLOCKS) or BLOCKS[i + 1][1] == 2:
                self._stage_ends.append(i + 1)
                self.feature_strides.append(stride)
                self.feature_channels.append(channels)

        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(channels, num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor | Pair]:
        """Outputs of the five stages, highest resolution first: a pair if there is a low branch, else a tensor."""
        outputs = []
        for i, block in enumerate(self.features):
            x = block(x)
            if i in self._stage_ends:
                outputs.append(x if x[1] is not None else x[0])
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last stage's output."""
        return self.avgpool(x).flatten(1)


@register_model
def oct_mobilenet(**options) -> OctMobileNet:
    """Oct-MobileNetV1 (paper Table 5: x1.0, alpha .5, 321M multiply-adds, top-1 72.4)."""
    return OctMobileNet(**options)


@register_model
def mobilenet_v1(*, downsample: Downsample = "stride", **options) -> OctMobileNet:
    """MobileNetV1 (569M multiply-adds, 4.23M parameters)."""
    return OctMobileNet(alpha=0.0, exchange="both", downsample=downsample, **options)
