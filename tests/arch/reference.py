"""Octave convolution in numpy, written from the paper's equations and sharing nothing with ppcls_lite."""

import numpy as np


def conv2d(x, weight, stride=1, padding=0, dilation=1, groups=1):
    """x [N, C, H, W], weight [O, C / groups, k, k] -> [N, O, H', W']."""
    _, c, _, _ = x.shape
    _, c_g, k, _ = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    span = dilation * (k - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (span, span), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]  # [N, C, H', W', k, k]
    x_groups, w_groups = np.split(windows, groups, axis=1), np.split(weight, groups, axis=0)
    parts = [np.einsum("nchwij,ocij->nohw", *group) for group in zip(x_groups, w_groups, strict=True)]
    assert c == c_g * groups
    return np.concatenate(parts, axis=1)


def pool2(x):
    """Mean over 2x2 cells; at an odd border over the pixels that exist."""
    n, c, h, w = x.shape
    out = np.empty((n, c, (h + 1) // 2, (w + 1) // 2), x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3))
    return out


def upsample2(x, like):
    """Each pixel to a 2x2 cell, cropped to the size of ``like``."""
    return x.repeat(2, axis=2).repeat(2, axis=3)[:, :, : like.shape[2], : like.shape[3]]


def octave_conv(x_h, x_l, weights, stride, padding, dilation, groups, downsample):
    """(x_h, x_l) -> (y_h, y_l); ``weights`` by path name, ``groups`` by path name; absent branches are None."""

    def conv(path, x, stride=1):
        return conv2d(x, weights[path], stride, padding, dilation, groups[path]) if path in weights else None

    pooled = downsample == "pool"
    if stride == 1:
        h2h = conv("h2h", x_h)
        l2h = conv("l2h", x_l)
        if l2h is not None:
            l2h = upsample2(l2h, h2h if h2h is not None else np.empty((1, 1, 2 * l2h.shape[2], 2 * l2h.shape[3])))
        l2l = conv("l2l", x_l)
        h2l = None
        if "h2l" in weights:
            h2l = conv("h2l", pool2(x_h)) if pooled else conv("h2l", x_h, 2)
    elif pooled:
        h2h = conv("h2h", pool2(x_h)) if "h2h" in weights else None
        l2h = conv("l2h", x_l)
        l2l = conv("l2l", pool2(x_l)) if "l2l" in weights else None
        h2l = conv("h2l", pool2(pool2(x_h))) if "h2l" in weights else None
    else:
        h2h = conv("h2h", x_h, 2)
        l2h = conv("l2h", x_l)
        l2l = conv("l2l", x_l, 2)
        h2l = conv("h2l", x_h, 4)
    return _sum(h2h, l2h), _sum(l2l, h2l)


def _sum(a, b):
    return b if a is None else a if b is None else a + b
