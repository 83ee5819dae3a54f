"""AlexNet as in "Dive into Deep Learning", and LeNet.

Paper: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012.
Code consulted: d2l-ai/d2l-zh (chapter on AlexNet: one channel, widths, dropout, Xavier initialization).
"""

from paddle import Tensor, nn
from paddle.vision.models import LeNet as VisionLeNet

from ppcls_lite.arch.base import Backbone
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import Channels, Classes


class AlexNet(Backbone, nn.Layer):
    """Five convolutions with three max-poolings, then three fully connected layers; ReLU and dropout 0.5.

    Input [N, in_channels, 224, 224], output float32 logits [N, num_classes]. Weights are initialized Xavier-uniform,
    biases with 0.
    """

    input_size = 224
    head_name = "classifier.6"
    feature_strides = (4, 8, 16)
    feature_channels = (96, 256, 256)

    def __init__(self, *, num_classes: Classes = 10, in_channels: Channels = 1):
        super().__init__()
        self.stages = nn.LayerList(
            [
                nn.Sequential(nn.Conv2D(in_channels, 96, 11, stride=4, padding=1), nn.ReLU()),
                nn.Sequential(nn.MaxPool2D(3, 2), nn.Conv2D(96, 256, 5, padding=2), nn.ReLU()),
                nn.Sequential(
                    nn.MaxPool2D(3, 2),
                    nn.Conv2D(256, 384, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2D(384, 384, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2D(384, 256, 3, padding=1),
                    nn.ReLU(),
                ),
            ]
        )
        self.pool = nn.MaxPool2D(3, 2)
        self.classifier = nn.Sequential(
            nn.Linear(6400, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )
        xavier, zero = nn.initializer.XavierUniform(), nn.initializer.Constant(0.0)
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D | nn.Linear):
                xavier(layer.weight)
                zero(layer.bias)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs before each pooling, with sides of 54, 26 and 12 pixels."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Input of the last fully connected layer [N, 4096]."""
        return self.classifier[:-1](self.pool(x).flatten(1))


class LeNet(Backbone, VisionLeNet):
    """``paddle.vision.models.LeNet`` (two convolutions, three fully connected layers) with ``forward_features``.

    Input [N, in_channels, 28, 28], output float32 logits [N, num_classes].
    """

    input_size = 28
    head_name = "fc.2"
    feature_strides = (1, 2)
    feature_channels = (6, 16)

    def __init__(self, *, num_classes: Classes = 10, in_channels: Channels = 1):
        super().__init__(num_classes)
        if in_channels != 1:
            self.features[0] = nn.Conv2D(in_channels, 6, 3, padding=1)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Outputs before each pooling, with sides of 28 and 10 pixels."""
        outputs = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        return outputs

    def pool_features(self, x: Tensor) -> Tensor:
        """Input of the last fully connected layer [N, 84]."""
        return self.fc[:-1](self.features[-1](x).flatten(1))


@register_model
def alexnet(**options) -> AlexNet:
    """AlexNet for gray images of 224 px (46.8M parameters, 0.94G multiply-adds)."""
    return AlexNet(**options)


@register_model
def lenet(**options) -> LeNet:
    """LeNet for gray images of 28 px (61,610 parameters)."""
    return LeNet(**options)
