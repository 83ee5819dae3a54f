"""From a setup to a network: the backbone of ``Arch``, the head of its task, images prepared on the device."""

from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from ppcls_lite.arch import build_model
from ppcls_lite.arch.base import replace_head
from ppcls_lite.data.transforms import Normalization
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Task


def build_network(setup: Setup, prepares: bool = True) -> nn.Layer:
    """The network of ``Arch`` with the task's head; where it ``prepares``, it takes images as loaders yield them."""
    network = build_headed(setup.config.Arch, setup.task)
    if prepares:
        prepare_input(network, setup.normalization, setup.config.DataLoader.image_size)
    return network


def build_headed(arch: dict[str, Any], task: Task) -> nn.Layer:
    """The network of a configuration's complete section ``Arch``, with the task's head."""
    options = {key: value for key, value in arch.items() if key != "name"}
    network = build_model(arch["name"], **options)
    replace_head(network, task.make_head)
    return network


def prepare_input(network: nn.Layer, normalization: Normalization, size: int | None) -> None:
    """Let ``network`` take images of pixels, uint8 [N, C, H, W]: normalised and resized on the device, in batch.

    A hook and not a layer around the network, so that parameters keep their names. Float images are only resized.

    Args:
        size: side in pixels; None for that of the images.
    """

    def prepare(_network, inputs):
        x = inputs[0]
        x = normalization(x) if x.dtype == paddle.uint8 else x
        return (resize(x, size) if size else x,)

    network.register_forward_pre_hook(prepare)


def resize(x: paddle.Tensor, size: int) -> paddle.Tensor:
    """Images [N, C, H, W] at ``size`` x ``size``, bilinear with half-pixel centres."""
    return x if tuple(x.shape[2:]) == (size, size) else F.interpolate(x, size=[size, size], mode="bilinear")
