"""The formats that this installation can export to: ONNX takes Paddle 3 and, below Python 3.13, Paddle2ONNX."""

import importlib.util

import paddle

PADDLE_2 = paddle.__version__.startswith("2.")
ONNX = [] if PADDLE_2 or importlib.util.find_spec("paddle2onnx") is None else ["onnx"]
FORMATS = ["paddle", *ONNX]
