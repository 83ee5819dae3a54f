"""Networks of ``paddle.vision.models`` with the parts that all networks have here: stages, pooled features, a head.

Papers: Simonyan and Zisserman, arXiv:1409.1556 (VGG); Szegedy et al., arXiv:1409.4842 (GoogLeNet) and arXiv:1512.00567
(Inception-v3); Iandola et al., arXiv:1602.07360 (SqueezeNet); Xie et al., arXiv:1611.05431 (ResNeXt); Ma et al.,
arXiv:1807.11164 (ShuffleNetV2); Sandler et al., arXiv:1801.04381 (MobileNetV2); Howard et al., arXiv:1905.02244
(MobileNetV3).

Parameters have the names of ``paddle.vision.models``. All take images [N, 3, H, W] and give float32 logits
[N, num_classes].
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F
from paddle.vision import models
from paddle.vision.models.resnet import BottleneckBlock
from paddle.vision.models.vgg import cfgs as VGG_LAYERS
from paddle.vision.models.vgg import make_layers

from ppcls_lite.arch.base import Backbone, get_head, initialize_convolutions
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import Classes, Init, Width


def run_stages(x: Tensor, stages: Iterable[Iterable[nn.Layer]]) -> list[Tensor]:
    """Outputs of the stages, each of which is several layers."""
    outputs = []
    for stage in stages:
        for layer in stage:
            x = layer(x)
        outputs.append(x)
    return outputs


def averages(size: int, count: int) -> np.ndarray:
    """The matrix [count, size] of adaptive average pooling in one direction."""
    matrix = np.zeros((count, size), np.float32)
    for i, row in enumerate(matrix):
        begin, end = i * size // count, -(-(i + 1) * size // count)
        row[begin:end] = 1 / (end - begin)
    return matrix


class Dropout(nn.Layer):
    """``nn.Dropout(p, mode="downscale_in_infer")``: zeros in training, multiplication by 1 - p in inference.

    Written so that deployment can remove the inner dropout.
    """

    def __init__(self, p: float):
        super().__init__()
        self.drop, self.factor = nn.Dropout(p), 1 - p

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.drop(x)


class VGG(Backbone, models.VGG):
    """3x3 convolutions in five stages with max-pooling after each, then three fully connected layers with dropout.

    Args:
        depth: 11, 13, 16 or 19 layers with weights.
        num_classes: number of outputs.
        batch_norm: batch norm after each convolution, which the paper does not have.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    head_name = "classifier.6"
    feature_strides = (1, 2, 4, 8, 16)
    feature_channels = (64, 128, 256, 512, 512)

    def __init__(self, depth: int, *, num_classes: Classes = 1000, batch_norm: bool = False, init: Init = "kaiming"):
        layers = VGG_LAYERS[{11: "A", 13: "B", 16: "D", 19: "E"}[depth]]
        super().__init__(make_layers(layers, batch_norm), num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stages before pooling, highest resolution first."""
        outputs = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2D):
                outputs.append(x)
            x = layer(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Input of the last fully connected layer [N, 4096]."""
        x = self.features[-1](x)
        if tuple(x.shape[2:]) != (7, 7):  # AdaptiveAvgPool2D(7), which ONNX does not have for all sizes
            rows, columns = (paddle.to_tensor(averages(side, 7)).astype(x.dtype) for side in x.shape[2:])
            x = paddle.matmul(paddle.matmul(rows, x), columns, transpose_y=True)
        return self.classifier[:-1](x.flatten(1))


class InceptionV3(Backbone, models.InceptionV3):
    """Stem without padding, 11 inception blocks, average pooling, dropout, classifier. Its default size is 299 px.

    Args:
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    min_input_size = 75
    default_input_size = 299
    feature_strides = (8, 16, 32)  # nominal: borders are left out
    feature_channels = (288, 768, 2048)

    def __init__(self, *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(num_classes)
        self.dropout = Dropout(self.dropout.p)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the blocks at each resolution, highest first."""
        blocks = self.inception_block_list
        return run_stages(x, [[self.inception_stem, *blocks[:3]], blocks[3:8], blocks[8:]])

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, 2048] with dropout."""
        return self.dropout(self.avg_pool(x).flatten(1))


class GoogLeNet(Backbone, models.GoogLeNet):
    """Stem, nine inception blocks without batch norm, average pooling, dropout, classifier.

    The two auxiliary classifiers of the paper are left out, in training as in scoring: the loss is that of the main
    output alone. Published weights are loaded without them.

    Args:
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    min_input_size = 61
    head_name = "_fc_out"
    feature_strides = (4, 8, 16, 32)  # nominal: pooling leaves borders out
    feature_channels = (192, 480, 832, 1024)

    def __init__(self, *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(num_classes)
        for branch in (1, 2):
            for kind in ("conv_o", "fc_o", "drop_o", "out", "pool_o"):
                delattr(self, f"_{kind}{branch}")
        self._drop = Dropout(self._drop.p)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stem and of the blocks at each resolution, highest first."""
        stages = [
            [self._conv, self._pool, self._conv_1, self._conv_2],
            [self._pool, self._ince3a, self._ince3b],
            [self._pool, self._ince4a, self._ince4b, self._ince4c, self._ince4d, self._ince4e],
            [self._pool, self._ince5a, self._ince5b],
        ]
        return run_stages(x, stages)

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, 1024] with dropout."""
        return self._drop(self._pool_5(x)).flatten(1)


class SqueezeNet(Backbone, models.SqueezeNet):
    """Convolution, eight fire blocks, three max-poolings; then a classifier at each position, ReLU and their mean.

    ``paddle.vision.models`` has the classifier as a 1x1 convolution, with the same outputs. Another task's head takes
    the mean of the features instead.

    Args:
        version: ``"1.0"`` or ``"1.1"``, which pools earlier.
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    min_input_size = 35
    head_name = "_conv9"
    feature_strides = (2, 4, 8, 16)  # nominal: pooling leaves borders out

    def __init__(self, version: str, *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(version, num_classes)
        self.feature_channels = (96, 256, 512, 512) if version == "1.0" else (64, 128, 256, 512)
        initialize_convolutions(self, init)
        self._conv9 = nn.Linear(512, num_classes)
        self._drop = Dropout(self._drop.p)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs before each pooling and of the last block, highest resolution first."""
        fires = [getattr(self, f"_conv{i}") for i in range(1, 9)]
        ends = (0, 3, 7, 8) if self.version == "1.0" else (0, 2, 4, 8)
        stages = [[self._pool, *fires[start:end]] for start, end in pairwise(ends)]
        return run_stages(x, [[self._conv, F.relu], *stages])

    def pool_features(self, x: Tensor) -> Tensor:
        """Features at each position [N, H, W, 512] with dropout."""
        return self._drop(x).transpose([0, 2, 3, 1])

    def forward_head(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """Output [N, outputs] from the features at each position."""
        head = get_head(self)
        if isinstance(head, nn.Linear):
            return F.relu(head(x)).mean([1, 2])
        return super().forward_head(x.mean([1, 2]), table)


class ShuffleNetV2(Backbone, models.ShuffleNetV2):
    """Convolution, max-pooling, three stages of shuffled blocks, 1x1 convolution, average pooling, classifier.

    Args:
        scale: 0.25, 0.33, 0.5, 1.0, 1.5 or 2.0.
        act: ``"relu"`` or ``"swish"``.
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    head_name = "_fc"
    feature_strides = (8, 16, 32)

    def __init__(self, scale: float, act: str = "relu", *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(scale, act, num_classes)
        self.feature_channels = tuple(2 * self._block_list[i]._conv_linear[0]._out_channels for i in (3, 11, 15))
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stages, highest resolution first."""
        blocks = self._block_list
        return run_stages(x, [[self._conv1, self._max_pool, *blocks[:4]], blocks[4:12], blocks[12:]])

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last 1x1 convolution."""
        return self._pool2d_avg(self._last_conv(x)).flatten(1)


class MobileNetV2(Backbone, models.MobileNetV2):
    """Convolution, 17 inverted residual blocks, 1x1 convolution, average pooling, dropout, classifier.

    Args:
        num_classes: number of outputs.
        scale: width multiplier.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    head_name = "classifier.1"
    feature_strides = (2, 4, 8, 16, 32)

    def __init__(self, *, num_classes: Classes = 1000, scale: Width = 1.0, init: Init = "kaiming"):
        super().__init__(scale, num_classes)
        self.feature_channels = tuple(self.features[i].conv[-1]._num_features for i in (1, 3, 6, 13, 17))
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the last block at each resolution, highest first."""
        layers = self.features
        return run_stages(x, [layers[:2], layers[2:4], layers[4:7], layers[7:14], layers[14:18]])

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, C] of the last 1x1 convolution with dropout."""
        return self.classifier[:-1](self.pool2d_avg(self.features[-1](x)).flatten(1))


class _MobileNetV3(Backbone):
    head_name = "classifier.3"
    feature_strides = (2, 4, 8, 16, 32)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the last block at each resolution, highest first."""
        ends = [i for i, block in enumerate(self.config) if block.stride == 2] + [len(self.config)]
        stages = [self.blocks[start:end] for start, end in pairwise(ends)]
        return run_stages(x, [[self.conv, *self.blocks[: ends[0]]], *stages])

    def pool_features(self, x: Tensor) -> Tensor:
        """Input of the last fully connected layer [N, C]."""
        return self.classifier[:-1](self.avgpool(self.lastconv(x)).flatten(1))

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of each stage's output."""
        return (*[block.in_channels for block in self.config if block.stride == 2], self.config[-1].out_channels)


class MobileNetV3Small(_MobileNetV3, models.MobileNetV3Small):
    """Convolution, 11 inverted residual blocks with squeeze-and-excitation, 1x1 convolution, two-layer classifier.

    Args:
        num_classes: number of outputs.
        scale: width multiplier.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    def __init__(self, *, num_classes: Classes = 1000, scale: Width = 1.0, init: Init = "kaiming"):
        super().__init__(scale, num_classes)
        initialize_convolutions(self, init)


class MobileNetV3Large(_MobileNetV3, models.MobileNetV3Large):
    """As :class:`MobileNetV3Small`, with 15 blocks.

    Args:
        num_classes: number of outputs.
        scale: width multiplier.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    def __init__(self, *, num_classes: Classes = 1000, scale: Width = 1.0, init: Init = "kaiming"):
        super().__init__(scale, num_classes)
        initialize_convolutions(self, init)


class ResNeXt(Backbone, models.ResNet):
    """ResNet whose 3x3 convolutions have groups of four channels (at the first stage).

    Args:
        depth: 50, 101 or 152.
        groups: 32 or 64.
        num_classes: number of outputs.
        init: ``"kaiming"`` or ``"paddle"`` for the convolutions.
    """

    feature_strides = (4, 8, 16, 32)
    feature_channels = (256, 512, 1024, 2048)

    def __init__(self, depth: int, groups: int, *, num_classes: Classes = 1000, init: Init = "kaiming"):
        super().__init__(BottleneckBlock, depth, width=4, num_classes=num_classes, groups=groups)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the four stages, highest resolution first."""
        first = [self.conv1, self.bn1, self.relu, self.maxpool, self.layer1]
        return run_stages(x, [first, [self.layer2], [self.layer3], [self.layer4]])

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, 2048] of the last stage's output."""
        return self.avgpool(x).flatten(1)


@register_model
def vgg11(**options) -> VGG:
    """VGG-11 (132.9M parameters, 7.61G multiply-adds)."""
    return VGG(11, **options)


@register_model
def vgg13(**options) -> VGG:
    """VGG-13 (133.0M parameters, 11.31G multiply-adds)."""
    return VGG(13, **options)


@register_model
def vgg16(**options) -> VGG:
    """VGG-16 (138.4M parameters, 15.47G multiply-adds)."""
    return VGG(16, **options)


@register_model
def vgg19(**options) -> VGG:
    """VGG-19 (143.7M parameters, 19.63G multiply-adds)."""
    return VGG(19, **options)


@register_model
def inception_v3(**options) -> InceptionV3:
    """Inception-v3, for 299 px (23.8M parameters, 5.71G multiply-adds)."""
    return InceptionV3(**options)


@register_model
def googlenet(**options) -> GoogLeNet:
    """GoogLeNet (7.0M parameters, 1.43G multiply-adds)."""
    return GoogLeNet(**options)


@register_model
def squeezenet1_0(**options) -> SqueezeNet:
    """SqueezeNet 1.0 (1.2M parameters, 777M multiply-adds)."""
    return SqueezeNet("1.0", **options)


@register_model
def squeezenet1_1(**options) -> SqueezeNet:
    """SqueezeNet 1.1 (1.2M parameters, 350M multiply-adds)."""
    return SqueezeNet("1.1", **options)


@register_model
def shufflenet_v2_x0_25(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x0.25 (0.6M parameters, 18M multiply-adds)."""
    return ShuffleNetV2(0.25, **options)


@register_model
def shufflenet_v2_x0_33(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x0.33 (0.6M parameters, 22M multiply-adds)."""
    return ShuffleNetV2(0.33, **options)


@register_model
def shufflenet_v2_x0_5(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x0.5 (1.4M parameters, 40M multiply-adds)."""
    return ShuffleNetV2(0.5, **options)


@register_model
def shufflenet_v2_x1_0(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x1.0 (2.3M parameters, 145M multiply-adds)."""
    return ShuffleNetV2(1.0, **options)


@register_model
def shufflenet_v2_x1_5(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x1.5 (3.5M parameters, 296M multiply-adds)."""
    return ShuffleNetV2(1.5, **options)


@register_model
def shufflenet_v2_x2_0(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x2.0 (7.4M parameters, 564M multiply-adds)."""
    return ShuffleNetV2(2.0, **options)


@register_model
def shufflenet_v2_swish(**options) -> ShuffleNetV2:
    """ShuffleNetV2 x1.0 with swish (2.3M parameters, 145M multiply-adds)."""
    return ShuffleNetV2(1.0, "swish", **options)


@register_model
def mobilenet_v2(**options) -> MobileNetV2:
    """MobileNetV2 (3.5M parameters, 301M multiply-adds)."""
    return MobileNetV2(**options)


@register_model
def mobilenet_v3_small(**options) -> MobileNetV3Small:
    """MobileNetV3 small (2.5M parameters, 57M multiply-adds)."""
    return MobileNetV3Small(**options)


@register_model
def mobilenet_v3_large(**options) -> MobileNetV3Large:
    """MobileNetV3 large (5.5M parameters, 217M multiply-adds)."""
    return MobileNetV3Large(**options)


@register_model
def resnext50_32x4d(**options) -> ResNeXt:
    """ResNeXt-50, 32x4d (25.0M parameters, 4.23G multiply-adds)."""
    return ResNeXt(50, 32, **options)


@register_model
def resnext50_64x4d(**options) -> ResNeXt:
    """ResNeXt-50, 64x4d (45.2M parameters, 7.98G multiply-adds)."""
    return ResNeXt(50, 64, **options)


@register_model
def resnext101_32x4d(**options) -> ResNeXt:
    """ResNeXt-101, 32x4d (44.2M parameters, 7.97G multiply-adds)."""
    return ResNeXt(101, 32, **options)


@register_model
def resnext101_64x4d(**options) -> ResNeXt:
    """ResNeXt-101, 64x4d (83.5M parameters, 15.46G multiply-adds)."""
    return ResNeXt(101, 64, **options)


@register_model
def resnext152_32x4d(**options) -> ResNeXt:
    """ResNeXt-152, 32x4d (60.0M parameters, 11.71G multiply-adds)."""
    return ResNeXt(152, 32, **options)


@register_model
def resnext152_64x4d(**options) -> ResNeXt:
    """ResNeXt-152, 64x4d (115.0M parameters, 22.94G multiply-adds)."""
    return ResNeXt(152, 64, **options)
