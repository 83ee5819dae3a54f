"""Networks as Paddle's static programs."""

import contextlib
from pathlib import Path

import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec
from paddle.tensor.math import _add_with_axis

from ppcls_lite.deploy.rewrite import FoldedConvBN, replace_layers


def save_program(network: nn.Layer, spec: InputSpec, prefix: Path) -> None:
    """Trace ``network`` into the running Paddle's own program: PREFIX.json (Paddle 2: PREFIX.pdmodel), .pdiparams."""
    traced = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
    paddle.jit.save(traced, str(prefix))


def save_inference_model(network: nn.Layer, spec: InputSpec, prefix: Path) -> None:
    """Trace ``network`` into PREFIX.pdmodel and PREFIX.pdiparams, for Paddle Inference; ``network`` is changed.

    Under Paddle 3, too, it is Paddle 2's program: from its own one Paddle 3.3 cannot run an upsampling with oneDNN
    ("ConvertPirAttribute2RuntimeAttribute not support"). To odd sides oneDNN's nearest upsampling rounds otherwise than
    Paddle's own, and so it is to even ones.
    """
    for layer in network.sublayers():
        if isinstance(layer, FoldedConvBN):
            layer.crops = True
    replace_layers(network, lambda layer: isinstance(layer, nn.Conv2D) and layer.bias is not None, ChannelBias)
    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", contextlib.nullcontext)  # not in Paddle 2.6
    with guard():
        save_program(network, spec, prefix)


class ChannelBias(nn.Layer):
    """A convolution whose bias is added along an axis.

    Tracing ``nn.Conv2D`` reshapes its bias to [1, C, 1, 1], and Paddle Inference then adds it in a pass of its own.
    """

    def __init__(self, conv: nn.Conv2D):
        super().__init__()
        self.bias, conv.bias = conv.bias, None
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return _add_with_axis(self.conv(x), self.bias, axis=1)
