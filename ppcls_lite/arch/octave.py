"""Octave convolution, alone and with batch norm and ReLU.

Paper: Chen et al., "Drop an Octave", ICCV 2019, arXiv:1904.05049, sections 3.2-3.3.
Code consulted: facebookresearch/OctConv (the operator's semantics), d-li14/octconv.pytorch (names).

A feature is a pair ``(x_h, x_l)``: high [N, C - c, H, W] and low [N, c, ceil(H/2), ceil(W/2)], with c = int(alpha * C).
A branch without channels is None, and a plain tensor ``x`` means ``(x, None)``.

All sizes are supported and equal those of 3x3 convolutions with stride 2 and padding 1: pooling rounds up and averages
only existing pixels at the border, and the upsampled low branch is cropped to the size of the high branch.
"""

from collections.abc import Callable
from functools import cached_property

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_lite.config.options import Downsample, Exchange, Positive, coerce
from ppcls_lite.utils.errors import UserError

Pair = tuple[Tensor | None, Tensor | None]


def split_channels(channels: int, alpha: float) -> tuple[int, int]:
    """(high, low) channels, with low = int(alpha * channels); rounding first avoids float errors."""
    low = int(round(alpha * channels, 6))
    return channels - low, low


def as_pair(x: Tensor | Pair) -> Pair:
    """``x`` if it is a pair, else ``(x, None)``."""
    return x if isinstance(x, tuple | list) else (x, None)


def pool2(x: Tensor) -> Tensor:
    """2x2 average pooling that rounds sizes up: [N, C, H, W] -> [N, C, ceil(H/2), ceil(W/2)]."""
    return F.avg_pool2d(x, 2, 2, ceil_mode=True)


def upsample2(x: Tensor, size: list[int] | None = None) -> Tensor:
    """Nearest upsampling by 2: [N, C, h, w] -> [N, C, 2h, 2w], or to ``size``, whose sides may be one less.

    The result of size 2h - 1 is a crop of that of size 2h, because floor(i * h / (2h - 1)) == i // 2.
    """
    return F.interpolate(x, size=size or [2 * x.shape[2], 2 * x.shape[3]], mode="nearest")


def add_upsampled(y_h: Tensor, y_l: Tensor) -> Tensor:
    """``y_h + upsample2(y_l)``: add the low branch to the high branch.

    Reshape and broadcast avoid writing the upsampled tensor, but took up to three times as long on the CPU
    (docs/results.md, ``measure.steps``).

    Args:
        y_h: [N, C, H, W].
        y_l: [N, C, ceil(H/2), ceil(W/2)].
    """
    return y_h + upsample2(y_l, y_h.shape[2:])


class OctaveInput:
    """A pair whose poolings are computed at most once and shared by all convolutions that read it."""

    def __init__(self, x: Tensor | Pair):
        self.x_h, self.x_l = as_pair(x)

    @cached_property
    def high2(self) -> Tensor:
        return pool2(self.x_h)

    @cached_property
    def high4(self) -> Tensor:
        return pool2(self.high2)

    @cached_property
    def low2(self) -> Tensor:
        return pool2(self.x_l)


class OctaveConv(nn.Layer):
    """Octave convolution, paper eq. 2-4: up to four convolutions between a high and a low branch.

    stride 1: ``y_h = h2h(x_h) + up(l2h(x_l))``, ``y_l = l2l(x_l) + h2l(pool2(x_h))``.
    stride 2: ``y_h = h2h(pool2(x_h)) + l2h(x_l)``, ``y_l = l2l(pool2(x_l)) + h2l(pool2(pool2(x_h)))``. With
    ``downsample="stride"``, convolutions have strides instead of each pooling.
    Depthwise (``groups == in_channels > 1``): h2h and l2l only. Otherwise all paths have ``groups``.

    Args:
        in_channels, out_channels: channels of both branches together.
        kernel_size: side of the square kernel.
        alpha_in, alpha_out: share of low channels, in [0, 1].
        stride: 1 or 2.
        padding, dilation, groups: as in ``nn.Conv2D``. With two branches the padding must preserve the size; ``"SAME"``
            always does.
        bias: bias in all paths; not needed before batch norm.
        downsample: ``"pool"`` or ``"stride"`` (paper Table 3).
        exchange: paths between the branches if input and output have both (paper Table 3): ``"both"``, ``"h2l"``,
            ``"l2h"`` or ``"none"``. A path to a new branch, or from one that ends, always exists.

    Raises:
        UserError: invalid combination of arguments.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        alpha_in: float = 0.5,
        alpha_out: float = 0.5,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        downsample: str = "pool",
        exchange: str = "both",
    ):
        super().__init__()
        coerce(downsample, Downsample, "downsample")
        coerce(exchange, Exchange, "exchange")
        coerce(groups, Positive, "groups")
        if stride not in (1, 2):
            raise UserError(f"stride is {stride}, expected 1 or 2")
        if not (0 <= alpha_in <= 1 and 0 <= alpha_out <= 1):
            raise UserError(f"alpha_in and alpha_out are {alpha_in} and {alpha_out}, expected values in [0, 1]")
        self.in_split = split_channels(in_channels, alpha_in)
        self.out_split = split_channels(out_channels, alpha_out)
        self.stride, self.downsample = stride, downsample
        depthwise = groups == in_channels > 1
        paths = _paths(self.in_split, self.out_split, exchange, depthwise)
        if paths != {"h2h"} and padding != "SAME" and 2 * padding != dilation * (kernel_size - 1):
            raise UserError(
                f"padding is {padding}, but an octave convolution with a low branch must preserve the size: expected "
                f"dilation * (kernel_size - 1) / 2 for kernel_size {kernel_size} and dilation {dilation}"
            )

        # With downsample="stride", strides replace the poolings of each path.
        strides = {"l2l": stride, "l2h": 1, "h2l": 2 * stride, "h2h": stride}
        for path in ("l2l", "l2h", "h2l", "h2h"):
            conv = None
            if path in paths:
                c_in, c_out = self.in_split[path[0] == "l"], self.out_split[path[2] == "l"]
                conv_groups = c_in if depthwise else groups
                if c_in % conv_groups or c_out % conv_groups:
                    raise UserError(
                        f"path {path} of an octave convolution has {c_in} -> {c_out} channels, "
                        f"which are not divisible by {conv_groups} groups"
                    )
                conv = nn.Conv2D(
                    c_in,
                    c_out,
                    kernel_size,
                    stride=strides[path] if downsample == "stride" else 1,
                    padding=padding,
                    dilation=dilation,
                    groups=conv_groups,
                    bias_attr=None if bias else False,
                )
            setattr(self, f"conv_{path}", conv)

    def forward(self, x: Tensor | Pair | OctaveInput) -> Pair:
        """``(x_h, x_l)`` -> ``(y_h, y_l)``."""
        h2h, l2h, l2l, h2l = self.paths(x)
        if self.stride == 1 and h2h is not None and l2h is not None:
            y_h = add_upsampled(h2h, l2h)
        else:
            y_h = add(h2h, upsample2(l2h) if self.stride == 1 and l2h is not None else l2h)
        return y_h, add(l2l, h2l)

    def paths(self, x: Tensor | Pair | OctaveInput) -> tuple[Tensor | None, ...]:
        """Outputs of the paths h2h, l2h (before upsampling), l2l and h2l; None for paths that do not exist."""
        x = x if isinstance(x, OctaveInput) else OctaveInput(x)
        for branch, channels in (("high", self.in_split[0]), ("low", self.in_split[1])):
            if (getattr(x, f"x_{branch[0]}") is None) != (channels == 0):
                raise UserError(
                    f"this octave convolution takes {self.in_split[0]} high and {self.in_split[1]} low channels, "
                    f"and its input {'lacks' if channels else 'has'} a {branch} branch"
                )
        pools = self.downsample == "pool"
        h2h = l2h = l2l = h2l = None
        if self.conv_h2h is not None:
            h2h = self.conv_h2h(x.high2 if pools and self.stride == 2 else x.x_h)
        if self.conv_l2h is not None:
            l2h = self.conv_l2h(x.x_l)
        if self.conv_l2l is not None:
            l2l = self.conv_l2l(x.low2 if pools and self.stride == 2 else x.x_l)
        if self.conv_h2l is not None:
            h2l = self.conv_h2l((x.high2 if self.stride == 1 else x.high4) if pools else x.x_h)
        return h2h, l2h, l2l, h2l


class ConvBN(nn.Layer):
    """Octave convolution, then batch norm on each branch. Takes the arguments of :class:`OctaveConv`.

    ``shortcut``, a pair of the output's shapes, is added to the output.
    """

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv = OctaveConv(*args, **kwargs)
        high, low = self.conv.out_split
        self.bn_h = nn.BatchNorm2D(high) if high else None
        self.bn_l = nn.BatchNorm2D(low) if low else None

    def forward(self, x: Tensor | Pair | OctaveInput, shortcut: Pair | None = None) -> Pair:
        y_h, y_l = self.conv(x)
        y = self.bn_h(y_h) if self.bn_h else None, self.bn_l(y_l) if self.bn_l else None
        return y if shortcut is None else (add(y[0], shortcut[0]), add(y[1], shortcut[1]))


class ConvBNAct(ConvBN):
    """Octave convolution, batch norm and ReLU on each branch. Takes the arguments of :class:`OctaveConv`.

    ``activation``, a function of a tensor, replaces ReLU.
    """

    def __init__(self, *args, activation: Callable[[Tensor], Tensor] = F.relu, **kwargs):
        super().__init__(*args, **kwargs)
        self.activation = activation

    def forward(self, x: Tensor | Pair | OctaveInput) -> Pair:
        return activate(ConvBN.forward(self, x), self.activation)  # paddle 2.6 cannot trace super()


def activate(x: Pair, activation: Callable[[Tensor], Tensor]) -> Pair:
    """``activation`` of each branch that exists."""
    return tuple(None if branch is None else activation(branch) for branch in x)


def relu(x: Pair) -> Pair:
    """ReLU on each branch that exists."""
    return activate(x, F.relu)


def add(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    """The sum of the tensors that are not None."""
    return y if x is None else x if y is None else x + y


def _paths(in_split: tuple[int, int], out_split: tuple[int, int], exchange: str, depthwise: bool) -> set[str]:
    """The paths between branches with channels, restricted by ``exchange``."""
    sources = [name for name, channels in zip("hl", in_split, strict=True) if channels]
    targets = [name for name, channels in zip("hl", out_split, strict=True) if channels]
    paths = {f"{source}2{target}" for source in sources for target in targets}
    if depthwise:
        if sources != targets:
            raise UserError("a depthwise octave convolution cannot change the split; set alpha_out equal to alpha_in")
        return paths - {"h2l", "l2h"}
    if len(paths) == 4 and exchange != "both":
        paths -= {"h2l", "l2h"} - {exchange}
    return paths
