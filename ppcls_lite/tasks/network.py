"""From a setup to a network: the backbone of ``Arch``, the head of its task, images prepared on the device."""

import dataclasses

import paddle
from paddle import nn
from paddle.nn import functional as F

from ppcls_lite.arch import build_model
from ppcls_lite.arch.base import replace_head
from ppcls_lite.arch.mlp import join_table
from ppcls_lite.config.schema import Config, Table
from ppcls_lite.data.fields import Fields
from ppcls_lite.data.transforms import Normalization
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Task


def build_network(setup: Setup, prepares: bool = True) -> nn.Layer:
    """The network of ``Arch`` with the task's head; where it ``prepares``, it takes images as loaders yield them."""
    network = build_headed(setup.config, setup.task, setup.spec.fields)
    if prepares:
        prepare_input(network, setup.normalization, setup.config.DataLoader.image_size)
    return network


def build_headed(config: Config, task: Task, fields: Fields | None = None) -> nn.Layer:
    """The network of a configuration whose section ``Arch`` is complete, with the task's head.

    Args:
        fields: the columns of a table that it takes.
    """
    network = build_model(config.Arch["name"], **config.arch_options)
    add_head(network, task, fields.width if fields is not None else 0, config.Table)
    return network


def add_head(network: nn.Layer, task: Task, table_width: int, table: Table) -> None:
    """Replace the last layer of a network by the task's head.

    Args:
        table_width: values of a row of the table that it takes, 0 for none.
        table: the layers for that row.
    """
    if network.takes_images and table_width:
        join_table(network, table_width, task.make_head, **dataclasses.asdict(table))
    else:
        replace_head(network, task.make_head)


def prepare_input(network: nn.Layer, normalization: Normalization, size: int | None) -> None:
    """Let ``network`` take images of pixels, uint8 [N, C, H, W]: normalised and resized on the device, in batch.

    A hook and not a layer around the network, so that parameters keep their names. Float images are only resized.

    Args:
        size: side in pixels; None for that of the images.
    """

    def prepare(_network, inputs):
        x, *table = inputs
        x = normalization(x) if x.dtype == paddle.uint8 else x
        return (resize(x, size) if size else x, *table)

    if network.takes_images:
        network.register_forward_pre_hook(prepare)


def resize(x: paddle.Tensor, size: int) -> paddle.Tensor:
    """Images [N, C, H, W] at ``size`` x ``size``, bilinear with half-pixel centres."""
    return x if tuple(x.shape[2:]) == (size, size) else F.interpolate(x, size=[size, size], mode="bilinear")
