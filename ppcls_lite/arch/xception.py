"""Xception.

Paper: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv:1610.02357 (Figure 5).
Code consulted: keras.applications.xception (where activations, biases and batch norms are).
"""

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.arch.base import Backbone, initialize_convolutions
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import Channels, Classes, Init


class SeparableBN(nn.Layer):
    """bn(1x1 convolution(3x3 depthwise convolution(x))), with nothing between the convolutions."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.depthwise = nn.Conv2D(in_channels, in_channels, 3, padding=1, groups=in_channels, bias_attr=False)
        self.pointwise = nn.Conv2D(in_channels, out_channels, 1, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pointwise(self.depthwise(x)))


class Block(nn.Layer):
    """f(x) + shortcut(x), where f is ReLU and a separable convolution several times, then max-pooling if it strides.

    Args:
        in_channels: channels of the input.
        widths: output channels of the separable convolutions.
        stride: 2 for max-pooling and a 1x1 convolution with stride 2 as shortcut; 1 for the identity.
        starts_with_relu: whether the first convolution has a ReLU before it.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], stride: int, starts_with_relu: bool = True):
        super().__init__()
        self.layers = nn.LayerList(
            [SeparableBN(before, width) for before, width in zip((in_channels, *widths), widths, strict=False)]
        )
        self.starts_with_relu = starts_with_relu
        self.pool = self.shortcut = None
        if stride == 2:
            self.pool = nn.MaxPool2D(3, 2, padding=1)
            conv = nn.Conv2D(in_channels, widths[-1], 1, stride=2, bias_attr=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2D(widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        for i, layer in enumerate(self.layers):
            x = layer(F.relu(x) if i or self.starts_with_relu else x)
        return shortcut + (x if self.pool is None else self.pool(x))


class Xception(Backbone, nn.Layer):
    """Entry flow: two 3x3 convolutions and three blocks that stride; middle flow: eight blocks; exit flow: a block that
    strides and two separable convolutions; then average pooling and a classifier. Its default size is 299 px.

    The two convolutions have no padding, as in Keras; max-pooling pads by 1 on each side.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        init: ``"kaiming"`` or ``"paddle"``.

    Input [N, in_channels, H, W] with sides of at least 32, output float32 logits [N, num_classes].
    """

    default_input_size = 299
    feature_strides = (2, 4, 8, 16, 32)  # nominal: the first convolutions leave borders out
    feature_channels = (64, 128, 256, 728, 2048)

    def __init__(self, *, num_classes: Classes = 1000, in_channels: Channels = 3, init: Init = "kaiming"):
        super().__init__()
        self.conv1 = nn.Conv2D(in_channels, 32, 3, stride=2, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(32)
        self.conv2 = nn.Conv2D(32, 64, 3, bias_attr=False)
        self.bn2 = nn.BatchNorm2D(64)
        self.entry = nn.LayerList(
            [Block(64, (128, 128), 2, starts_with_relu=False), Block(128, (256, 256), 2), Block(256, (728, 728), 2)]
        )
        self.middle = nn.Sequential(*[Block(728, (728, 728, 728), 1) for _ in range(8)])
        self.exit = Block(728, (728, 1024), 2)
        self.last = nn.Sequential(SeparableBN(1024, 1536), nn.ReLU(), SeparableBN(1536, 2048), nn.ReLU())
        self.fc = nn.Linear(2048, num_classes)
        initialize_convolutions(self, init)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the second convolution, of the entry flow's first two blocks, of the middle and the exit flow."""
        x = F.relu(self.bn1(self.conv1(x)))
        outputs = [F.relu(self.bn2(self.conv2(x)))]
        for block in self.entry:
            outputs.append(block(outputs[-1]))
        outputs[-1] = self.middle(outputs[-1])
        return [*outputs, self.last(self.exit(outputs[-1]))]

    def pool_features(self, x: Tensor) -> Tensor:
        """Pooled features [N, 2048] of the last stage's output."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


@register_model
def xception(**options) -> Xception:
    """Xception, for 299 px (22.9M parameters, 8.36G multiply-adds)."""
    return Xception(**options)
