"""The deploy form of a network: the same function of its input, in fewer and larger operations.

What is rewritten, and why (measured in docs/results.md):

1. Batch norm that follows a convolution goes into its weights and bias: one operation less, exact but for rounding.
   In an octave convolution up to two convolutions are summed before it; both are scaled, the first takes the bias.
2. A residual block's shortcut joins the sums of its last octave convolution: without batch norm in between the order
   is free. ONNX Runtime adds to a convolution's output in place, and so one addition a block is left, that of the
   upsampled branch to the shortcut.
3. Dropout goes: it does nothing in inference.

What is left alone, since it was measured to be no faster: one convolution over the concatenation of x_l and the pooled
x_h in place of two (the copy costs what the addition did), and one convolution for l2l and l2h (their outputs have to
be cut apart, which runtimes do outside of their blocked layout).
"""

import copy
from collections.abc import Callable

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.arch.octave import ConvBN, ConvBNAct, OctaveInput, Pair, add, relu, upsample2

NORMS = (nn.BatchNorm2D, nn.BatchNorm)


class FoldedConvBN(nn.Layer):
    """:class:`ConvBN` or :class:`ConvBNAct` with its batch norm in the convolutions; takes its input as they do.

    ``crops`` says how the low branch gets an odd side: upsampled to an even one and cut, else upsampled to it.
    """

    crops = False

    def __init__(self, source: ConvBN):
        super().__init__()
        self.conv = source.conv
        self.activates = isinstance(source, ConvBNAct)
        for paths, norm in ((("h2h", "l2h"), source.bn_h), (("l2l", "h2l"), source.bn_l)):
            convs = [getattr(self.conv, f"conv_{path}") for path in paths]
            if norm is not None:
                _fold([conv for conv in convs if conv is not None], norm)

    def forward(self, x: Tensor | Pair | OctaveInput, shortcut: Pair | None = None) -> Pair:
        s_h, s_l = shortcut or (None, None)
        h2h, l2h, l2l, h2l = self.conv.paths(x)
        if l2h is not None and self.conv.stride == 1:
            l2h = self._upsample(l2h, s_h if h2h is None else h2h)
        y = add(h2h, add(s_h, l2h)), add(h2l, add(l2l, s_l))
        return relu(y) if self.activates else y

    def _upsample(self, low: Tensor, like: Tensor | None) -> Tensor:
        if like is None:
            return upsample2(low)
        height, width = like.shape[2:]
        if self.crops and (height % 2 or width % 2):
            return upsample2(low)[:, :, :height, :width]
        return upsample2(low, [height, width])


def deploy_form(network: nn.Layer, images: Tensor) -> nn.Layer:
    """A copy of ``network`` in evaluation mode, rewritten as this module says.

    Args:
        network: any network of ``ppcls_lite.arch``; it is left as it is.
        images: [N, C, H, W], which it is run on to see which layers follow each other.
    """
    result = copy.deepcopy(network)
    result.eval()
    replace_layers(result, lambda layer: isinstance(layer, ConvBN), FoldedConvBN)
    _fold_norms_after_convolutions(result, images)
    replace_layers(result, lambda layer: isinstance(layer, nn.Dropout), lambda _: nn.Identity())
    return result


def replace_layers(network: nn.Layer, chosen: Callable[[nn.Layer], bool], make: Callable[[nn.Layer], nn.Layer]) -> None:
    """Put ``make(layer)`` in the place of every chosen layer."""
    for parent in network.sublayers(include_self=True):
        for name, child in list(parent.named_children()):
            if chosen(child):
                parent.add_sublayer(name, make(child))


def _fold(convs: list[nn.Conv2D], norm: nn.Layer) -> None:
    """Put the batch norm of a sum of convolutions into their weights, and into the bias of the first."""
    weight, bias, mean, variance = (
        tensor.numpy().astype(np.float64) for tensor in (norm.weight, norm.bias, norm._mean, norm._variance)
    )
    scale = weight / np.sqrt(variance + norm._epsilon)
    shift = bias - mean * scale
    for conv in convs:
        dtype = conv.weight.numpy().dtype
        if conv.bias is not None:
            shift = shift + scale * conv.bias.numpy()
        conv.weight.set_value((conv.weight.numpy() * scale.reshape(-1, 1, 1, 1)).astype(dtype))
        conv.bias = None
    convs[0].bias = convs[0].create_parameter([len(shift)], dtype=str(dtype), is_bias=True)
    convs[0].bias.set_value(shift.astype(dtype))


def _fold_norms_after_convolutions(network: nn.Layer, images: Tensor) -> None:
    """Fold every batch norm whose input is a convolution's output that nothing else reads, and remove it."""
    pairs = _convolutions_before_norms(network, images)
    for conv, norm in pairs:
        _fold([conv], norm)
    folded = {id(norm) for _, norm in pairs}
    replace_layers(network, lambda layer: id(layer) in folded, _activation)


def _convolutions_before_norms(network: nn.Layer, images: Tensor) -> list[tuple[nn.Conv2D, nn.Layer]]:
    """Convolutions with the batch norm that takes their output, where nothing else reads it.

    Gradients tell: the batch norm is given a copy of the output, and the copy's gradient is all of the output's where
    there is no other reader.
    """
    outputs: dict[int, tuple[nn.Conv2D, Tensor]] = {}  # by id; the tensor is kept, so that no other gets its id
    found: list[tuple[nn.Conv2D, nn.Layer, Tensor, Tensor]] = []
    hooks = []

    def note_convolution(conv, _inputs, output):
        outputs[id(output)] = conv, output

    def take_copy(norm, inputs):
        if id(inputs[0]) in outputs:
            found.append((outputs[id(inputs[0])][0], norm, inputs[0], inputs[0].clone()))
            return (found[-1][-1],)

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D):
            hooks.append(layer.register_forward_post_hook(note_convolution))
        elif isinstance(layer, NORMS):
            hooks.append(layer.register_forward_pre_hook(take_copy))
    images = images.detach()
    images.stop_gradient = False
    logits = network(images)
    for hook in hooks:
        hook.remove()
    if not found:
        return []
    tensors = [tensor for pair in found for tensor in pair[2:]]
    gradients = paddle.grad((logits * paddle.randn(logits.shape, logits.dtype)).sum(), tensors)
    pairs = zip(found, gradients[::2], gradients[1::2], strict=True)
    return [(conv, norm) for (conv, norm, *_), whole, read in pairs if bool((whole == read).all())]


def _activation(norm: nn.Layer) -> nn.Layer:
    """What is left of a batch norm that was folded: ``nn.BatchNorm`` may activate its output."""
    act = getattr(norm, "_act", None)
    return {None: nn.Identity, "relu": nn.ReLU}[act]()
