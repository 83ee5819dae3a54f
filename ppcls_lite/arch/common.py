"""What every network shares: initialisation and widths."""

from paddle import nn

from ppcls_lite.utils.errors import UserError


def initialize_convolutions(network: nn.Layer, init: str) -> None:
    """Set convolution weights: ``kaiming`` (normal, variance 2 / fan-in) or ``paddle`` (its layers' default).

    They differ for grouped convolutions: Paddle's default ignores the groups, so that a depthwise weight starts sqrt(C)
    too small.
    """
    if init == "paddle":
        return
    kaiming = nn.initializer.KaimingNormal()
    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D):
            kaiming(layer.weight)


def scaled_channels(channels: int, scale: float) -> int:
    """``int(channels * scale)``, the width rule of ``paddle.vision.models``.

    Raises:
        UserError: nothing is left at this scale.
    """
    scaled = int(channels * scale)
    if scaled < 1:
        raise UserError(f"scale {scale:g} leaves no channel of {channels}; take a larger one")
    return scaled
