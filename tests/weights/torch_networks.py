"""Networks in PyTorch with the names of d-li14/octconv.pytorch and stigma0617/VoVNet.pytorch, to compare with."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


class OctConv(nn.Module):
    def __init__(self, c_in, c_out, kernel, a_in, a_out, stride=1, depthwise=False):
        super().__init__()
        self.stride = stride
        ins = {"h": c_in - int(a_in * c_in), "l": int(a_in * c_in)}
        outs = {"h": c_out - int(a_out * c_out), "l": int(a_out * c_out)}
        for path in ("h2h", "h2l", "l2h", "l2l"):
            source, target = path[0], path[2]
            conv = None
            if ins[source] and outs[target] and (source == target or not depthwise):
                groups = ins[source] if depthwise else 1
                conv = nn.Conv2d(ins[source], outs[target], kernel, padding=kernel // 2, groups=groups, bias=False)
            setattr(self, f"conv_{path}", conv)

    def forward(self, pair):
        high, low = pair
        if self.stride == 2:
            high = F.avg_pool2d(high, 2)
        sums = {"h": [], "l": []}
        if self.conv_h2h is not None:
            sums["h"].append(self.conv_h2h(high))
        if self.conv_h2l is not None:
            sums["l"].append(self.conv_h2l(F.avg_pool2d(high, 2)))
        if self.conv_l2h is not None:
            y = self.conv_l2h(low)
            sums["h"].append(F.interpolate(y, scale_factor=2) if self.stride == 1 else y)
        if self.conv_l2l is not None:
            sums["l"].append(self.conv_l2l(F.avg_pool2d(low, 2) if self.stride == 2 else low))
        return tuple(sum(terms) if terms else None for terms in sums.values())


class OctNorm(nn.Module):
    def __init__(self, c_in, c_out, kernel, a_in, a_out, stride=1, depthwise=False, act=True):
        super().__init__()
        self.conv, self.act = OctConv(c_in, c_out, kernel, a_in, a_out, stride, depthwise), act
        low = int(a_out * c_out)
        self.bn_h, self.bn_l = nn.BatchNorm2d(c_out - low), nn.BatchNorm2d(low) if low else None

    def forward(self, pair):
        high, low = self.conv(pair)
        pair = self.bn_h(high), self.bn_l(low) if low is not None else None
        return tuple(F.relu(x) if self.act and x is not None else x for x in pair)


class OctBottleneck(nn.Module):
    def __init__(self, c_in, width, stride, a_in, a_out):
        super().__init__()
        self.conv1 = OctNorm(c_in, width, 1, a_in, a_out)
        self.conv2 = OctNorm(width, width, 3, a_out, a_out, stride)
        self.conv3 = OctNorm(width, 4 * width, 1, a_out, a_out, act=False)
        changes = stride == 2 or c_in != 4 * width or a_in != a_out
        self.downsample = (
            nn.Sequential(OctNorm(c_in, 4 * width, 1, a_in, a_out, stride, act=False)) if changes else None
        )

    def forward(self, pair):
        shortcut = self.downsample(pair) if self.downsample is not None else pair
        y = self.conv3(self.conv2(self.conv1(pair)))
        return tuple(None if a is None else F.relu(a + b) for a, b in zip(y, shortcut, strict=True))


class OctResNet50(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels, a_in = 64, 0
        for i, (width, depth) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
            blocks, a_out = [], 0 if i == 3 else 0.5
            for j in range(depth):
                blocks.append(OctBottleneck(channels, width, 2 if i and not j else 1, a_in, a_out))
                channels, a_in = 4 * width, a_out
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        pair = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1), None
        for i in range(4):
            pair = getattr(self, f"layer{i + 1}")(pair)
        return self.fc(pair[0].mean((2, 3)))


class OctMobileNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())]
        channels = 32
        plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        for i, (width, stride) in enumerate(plan):
            a_in, a_out = 0.5 if 0 < i < 11 else 0, 0.5 if i < 10 else 0
            depthwise = OctNorm(channels, channels, 3, a_in, a_in, stride, depthwise=True)
            layers.append(nn.Sequential(depthwise, OctNorm(channels, width, 1, a_in, a_out)))
            channels = width
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        pair = self.features[0](x), None
        for block in self.features[1:]:
            pair = block(pair)
        return self.fc(pair[0].mean((2, 3)))


def _unit(name, c_in, c_out, kernel, stride=1):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return [(f"{name}/conv", conv), (f"{name}/norm", nn.BatchNorm2d(c_out)), (f"{name}/relu", nn.ReLU())]


class OSA(nn.Module):
    def __init__(self, name, c_in, width, c_out, identity):
        super().__init__()
        self.identity = identity
        units = [_unit(f"{name}_{i}", width if i else c_in, width, 3) for i in range(5)]
        self.layers = nn.ModuleList([nn.Sequential(OrderedDict(unit)) for unit in units])
        self.concat = nn.Sequential(OrderedDict(_unit(f"{name}_concat", c_in + 5 * width, c_out, 1)))

    def forward(self, x):
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.concat(torch.cat(outputs, 1))
        return y + x if self.identity else y


class VoVNet39(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        stem = [*_unit("stem_1", 3, 64, 3, 2), *_unit("stem_2", 64, 64, 3), *_unit("stem_3", 64, 128, 3, 2)]
        self.stem = nn.Sequential(OrderedDict(stem))
        channels = 128
        plan = zip((128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 2, 2), strict=True)
        for stage, (width, c_out, depth) in enumerate(plan, 2):
            modules = []
            for j in range(depth):
                name = f"OSA{stage}_{j + 1}"
                modules.append((name, OSA(name, channels, width, c_out, identity=j > 0)))
                channels = c_out
            setattr(self, f"stage{stage}", nn.Sequential(OrderedDict(modules)))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for stage in range(2, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True) if stage > 2 else x
            x = getattr(self, f"stage{stage}")(x)
        return self.classifier(x.mean((2, 3)))
