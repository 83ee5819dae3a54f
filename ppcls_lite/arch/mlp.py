"""Networks for a table's numbers and categories: alone, or joined with an image's features.

The default sizes are those of Rosebrock, "Keras: Multiple Inputs and Mixed Data" (pyimagesearch.com, 2019): 8 and 4
units for the table, 4 for the image's features, and 4 for both together.
"""

import itertools
import types
from collections.abc import Callable, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.arch.base import Backbone, get_head, replace_head
from ppcls_lite.arch.registry import register_model
from ppcls_lite.config.options import Classes, Positive, Sizes


class TableBranch(nn.Layer):
    """Rows [N, width] are standardized, then pass fully connected layers of ``hidden`` units with ReLU.

    Mean and scale are stored with the weights; :meth:`fit` sets them.
    """

    def __init__(self, width: int, hidden: Sequence[int]):
        super().__init__()
        # Parameters, because the names of buffers change when a run is resumed.
        self.mean, self.scale = (
            self.create_parameter([width], default_initializer=nn.initializer.Constant(value)) for value in (0.0, 1.0)
        )
        self.mean.stop_gradient = self.scale.stop_gradient = True
        sizes = [width, *hidden]
        self.layers = nn.LayerList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))

    def fit(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Set mean and scale, float32 [width]; see :meth:`ppcls_lite.data.fields.Fields.statistics`."""
        self.mean.set_value(mean)
        self.scale.set_value(scale)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) * self.scale
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class MLP(Backbone, nn.Layer):
    """A network for a table without images."""

    takes_images = False

    def __init__(self, *, num_classes: Classes = 1000, in_features: Positive = 1, hidden: Sizes = (8, 4)):
        super().__init__()
        self.table_width = in_features
        self.table = TableBranch(in_features, hidden)
        self.fc = nn.Linear(hidden[-1] if hidden else in_features, num_classes)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        return [self.table(x)]

    def pool_features(self, x: Tensor) -> Tensor:
        return x


@register_model
def mlp(**options) -> MLP:
    """Fully connected layers of ``hidden`` units for a table of ``in_features`` values; no hidden layer is linear."""
    return MLP(**options)


class JointHead(nn.Layer):
    """A last layer on an image's features [N, F] and a table's rows [N, width]: concatenated, after a layer for each.

    Args:
        features: F.
        outputs: of the network.
        make_head: makes the last layer of a linear one.
        hidden: units of the table's layers.
        image_units, joint_units: units of the layers for the image's features and for both together.
    """

    def __init__(
        self,
        features: int,
        width: int,
        outputs: int,
        make_head: Callable[[nn.Linear], nn.Layer],
        hidden: Sequence[int],
        image_units: int,
        joint_units: int,
    ):
        super().__init__()
        self.table = TableBranch(width, hidden)
        self.images = nn.Linear(features, image_units)
        self.joint = nn.Linear(image_units + (hidden[-1] if hidden else width), joint_units)
        self.output = make_head(nn.Linear(joint_units, outputs))

    def forward(self, features: Tensor, table: Tensor) -> Tensor:
        both = paddle.concat([F.relu(self.images(features)), self.table(table)], axis=1)
        return self.output(F.relu(self.joint(both)))


def join_table(network: nn.Layer, width: int, make_head: Callable[[nn.Linear], nn.Layer], **sizes) -> None:
    """Let a network of images also take rows [N, width]: its last layer becomes a :class:`JointHead`.

    Args:
        make_head: as for :class:`JointHead`.
        sizes: ``hidden``, ``image_units`` and ``joint_units`` of the head.
    """

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return self.forward_head(self.forward_pooled(x), table).astype("float32")

    network.table_width = width
    network.forward = types.MethodType(forward, network)
    replace_head(
        network, lambda linear: JointHead(linear.weight.shape[0], width, linear.weight.shape[1], make_head, **sizes)
    )


def find_table_branch(network: nn.Layer) -> TableBranch | None:
    """The branch of a network that takes rows of a table."""
    return next((layer for layer in network.sublayers() if isinstance(layer, TableBranch)), None)


def find_output(network: nn.Layer) -> nn.Layer:
    """The layer that a task made (``Task.make_head``): the last one, or that of a :class:`JointHead`."""
    head = get_head(network)
    return head.output if isinstance(head, JointHead) else head
