"""Networks, one paper per file, built with ``build_model(name, **options)`` and listed by ``list_models()``.

Layers, network classes and factories can be imported from here by name. Only this imports paddle.
"""

import importlib

from ppcls_lite.arch.registry import MODELS, build_model, list_models, model_options

_LAYERS = {
    "octave": ["OctaveConv", "ConvBN", "ConvBNAct", "split_channels"],
    "mobilenet": ["OctMobileNet"],
    "resnet": ["BasicBlock", "Bottleneck", "OctResNet"],
}
_MODULE_OF = {name: module for module, names in _LAYERS.items() for name in names}

__all__ = ["build_model", "list_models", "model_options", *_MODULE_OF, *list_models()]


def __getattr__(name: str):
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"ppcls_lite.arch.{_MODULE_OF[name]}"), name)
    if name in list_models():
        return MODELS.factory(name)
    raise AttributeError(f"module 'ppcls_lite.arch' has no attribute '{name}'")
