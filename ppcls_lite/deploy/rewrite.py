"""The deploy form of a network: the same function in fewer and larger operations.

What is rewritten, and why (measured in docs/results.md):

1. Batch norm after a convolution is folded into its weights and bias. This saves an operation and is exact except for
   rounding. In an octave convolution, batch norm follows the sum of up to two convolutions: both are scaled, and the
   first gets the bias.
2. A residual block's shortcut is added to one of the sums in its last octave convolution: without batch norm in
   between, the order is free. ONNX Runtime adds to a convolution's output in place, so one addition per block is left,
   that of the upsampled branch to the shortcut.
3. Dropout is removed: it does nothing in inference.

Two more rewrites were measured to be no faster, and are left out: one convolution over the concatenation of x_l and the
pooled x_h instead of two (the copy costs as much as the addition), and one convolution for l2l and l2h (their outputs
must be split, which runtimes do outside of their blocked layout).
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.arch.base import NORMS
from ppcls_lite.arch.octave import ConvBN, ConvBNAct, OctaveInput, Pair, activate, add, upsample2


class FoldedConvBN(nn.Layer):
    """:class:`ConvBN` or :class:`ConvBNAct` with its batch norm folded into the convolutions; takes the same inputs.

    ``crops`` says how the low branch is upsampled to an odd side: to the next even side and then cropped, or directly.
    """

    crops = False

    def __init__(self, source: ConvBN):
        super().__init__()
        self.conv = source.conv
        self.activation = source.activation if isinstance(source, ConvBNAct) else None
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
        return y if self.activation is None else activate(y, self.activation)

    def _upsample(self, low: Tensor, like: Tensor | None) -> Tensor:
        if like is None:
            return upsample2(low)
        height, width = like.shape[2:]
        if self.crops and (height % 2 or width % 2):
            return upsample2(low)[:, :, :height, :width]
        return upsample2(low, [height, width])


def deploy_form(network: nn.Layer, *inputs: Tensor) -> nn.Layer:
    """A rewritten copy of ``network`` in evaluation mode.

    Args:
        network: any network of ``ppcls_lite.arch``; it is not changed.
        inputs: of the network, such as images [N, C, H, W], to find out which layers follow each other.
    """
    result = copy.deepcopy(network)
    result.eval()
    replace_layers(result, lambda layer: isinstance(layer, ConvBN), FoldedConvBN)
    pairs = _find_foldable(result, inputs)
    for conv, norm in pairs:
        _fold([conv], norm)
    folded = {id(norm) for _, norm in pairs}
    replace_layers(result, lambda layer: id(layer) in folded, _activation)
    replace_layers(result, lambda layer: isinstance(layer, nn.Dropout), lambda _: nn.Identity())
    return result


def replace_layers(network: nn.Layer, chosen: Callable[[nn.Layer], bool], make: Callable[[nn.Layer], nn.Layer]) -> None:
    """Replace every layer for which ``chosen`` is true by ``make(layer)``."""
    for parent in network.sublayers(include_self=True):
        for name, child in list(parent.named_children()):
            if chosen(child):
                parent.add_sublayer(name, make(child))


def _fold(convs: list[nn.Conv2D], norm: nn.Layer) -> None:
    """Fold the batch norm of a sum of convolutions into their weights, and into the bias of the first."""
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


def _find_foldable(network: nn.Layer, inputs: Sequence[Tensor]) -> list[tuple[nn.Conv2D, nn.Layer]]:
    """Pairs of a convolution and the batch norm that is the only reader of its output.

    The batch norm gets a copy of the output. If nothing else reads the output, its gradient equals the copy's.
    """
    outputs: dict[int, tuple[nn.Conv2D, Tensor]] = {}  # by the tensor's id, which is unique while the tensor is kept
    pairs, tensors, copies = [], [], []

    def note_output(conv, _inputs, output):
        outputs[id(output)] = conv, output

    def copy_input(norm, inputs):
        conv, output = outputs.get(id(inputs[0]), (None, None))
        if conv is None:
            return None
        pairs.append((conv, norm))
        tensors.append(output)
        copies.append(output.clone())
        return (copies[-1],)

    hooks = [conv.register_forward_post_hook(note_output) for conv in _layers(network, nn.Conv2D)]
    hooks += [norm.register_forward_pre_hook(copy_input) for norm in _layers(network, NORMS)]
    inputs = [one.detach() for one in inputs]
    for one in inputs:
        one.stop_gradient = False  # the parameters may be frozen
    logits = network(*inputs)
    for hook in hooks:
        hook.remove()
    if not pairs:
        return []
    gradients = paddle.grad((logits * paddle.randn(logits.shape, logits.dtype)).sum(), tensors + copies)
    of_outputs, of_copies = gradients[: len(pairs)], gradients[len(pairs) :]
    return [pair for pair, whole, read in zip(pairs, of_outputs, of_copies, strict=True) if bool((whole == read).all())]


def _layers(network: nn.Layer, kinds) -> list[nn.Layer]:
    return [layer for layer in network.sublayers() if isinstance(layer, kinds)]


def _activation(norm: nn.Layer) -> nn.Layer:
    """What remains of a folded batch norm: ``nn.BatchNorm`` may include an activation."""
    return {None: nn.Identity, "relu": nn.ReLU}[getattr(norm, "_act", None)]()
