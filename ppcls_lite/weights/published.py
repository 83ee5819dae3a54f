"""ImageNet weights that Paddle publishes: the table, the downloader and the cache of ``paddle.vision.models``."""

import importlib
import logging
from pathlib import Path

from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.files import digest

logger = logging.getLogger(__name__)

NAME = "imagenet"  # what ``Global.pretrained_model`` calls them

# Files of ``paddle.vision.models``, each with its table, and their names in it where these differ from ours.
_TABLES = {
    "resnet": ["resnet50", "resnet101", "resnet152"]
    + [f"resnext{depth}_{groups}x4d" for depth in (50, 101, 152) for groups in (32, 64)],
    "densenet": ["densenet121", "densenet161", "densenet169", "densenet201"],
    "vgg": ["vgg16", "vgg19"],
    "inceptionv3": ["inception_v3"],
    "googlenet": ["googlenet"],
    "squeezenet": ["squeezenet1_0", "squeezenet1_1"],
    "shufflenetv2": [f"shufflenet_v2_{kind}" for kind in ("x0_25", "x0_33", "x0_5", "x1_0", "x1_5", "x2_0", "swish")],
    "mobilenetv1": ["mobilenet_v1"],
    "mobilenetv2": ["mobilenet_v2"],
    "mobilenetv3": ["mobilenet_v3_small", "mobilenet_v3_large"],
}
_KEYS = {
    "mobilenet_v1": "mobilenetv1_1.0",
    "mobilenet_v2": "mobilenetv2_1.0",
    "mobilenet_v3_small": "mobilenet_v3_small_x1.0",
    "mobilenet_v3_large": "mobilenet_v3_large_x1.0",
}
MODELS = {model: table for table, models in _TABLES.items() for model in models}


def locate(model: str) -> tuple[str, str, Path]:
    """Address, MD5 sum and place in Paddle's cache of the weights of ``model``.

    Raises:
        UserError: Paddle publishes none.
    """
    if model not in MODELS:
        raise UserError(
            f"no weights are published for {model}; pass a file or a run folder, or {nearest(model, MODELS)}"
        )
    from paddle.utils import download

    table = importlib.import_module(f"paddle.vision.models.{MODELS[model]}").model_urls
    url, md5 = table[_KEYS.get(model, model)]
    return url, md5, Path(download.WEIGHTS_HOME) / url.rsplit("/", 1)[-1]


def fetch(model: str) -> Path:
    """The file of the published weights of ``model``, downloaded to Paddle's cache if it is not there.

    Raises:
        UserError: Paddle publishes none, they cannot be downloaded, or the file has another MD5 sum.
    """
    from paddle.utils import download

    url, md5, path = locate(model)
    if not path.is_file():
        logger.info("downloading %s to %s", url, path.parent)
    try:
        return Path(download.get_weights_path_from_url(url, md5))
    except (RuntimeError, OSError) as error:
        if path.is_file() and (found := digest(path, "md5")) != md5:
            raise UserError(
                f"{path} is not what Paddle publishes (MD5 {found} instead of {md5}) and could not be downloaded "
                f"again; replace it by the file from {url}"
            ) from None
        reason = f" ({error})" if isinstance(error, OSError) else ""
        raise UserError(
            f"the weights of {model} could not be downloaded{reason}; put the file {path.name} from {url} "
            f"into {path.parent}"
        ) from None
