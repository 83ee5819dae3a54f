"""ppcls_lite: efficient CNN backbones in PaddlePaddle, proved, trained and measured against plain networks.

Importing this package is cheap and does not import paddle.
"""

# Paddle 2.6 carries its own zlib symbols: Python's zlib, loaded after it, inflates garbage or crashes.
import zlib  # noqa: F401

__version__ = "0.1.0"
