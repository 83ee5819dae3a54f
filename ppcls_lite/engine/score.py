"""``score(config)``: the scores of trained weights."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import paddle

from ppcls_lite.config import Config
from ppcls_lite.data import load_dataset
from ppcls_lite.device import select_device
from ppcls_lite.engine import parts
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.errors import UserError
from ppcls_lite.weights import find_weights, load_pretrained


def score(config: Config, weights: str | Path | None = None) -> dict[str, Any]:
    """Score weights on the test images, and on the validation images where there are any.

    Args:
        weights: a file or run folder; by default ``Global.pretrained_model``, else ``Global.output_dir``.

    Returns:
        ``weights`` (the file), and ``test`` (and ``val``) with loss, top1, top5, images, seconds.

    Raises:
        UserError: no weights: random ones are not scored.
    """
    try:
        weights = find_weights(weights or config.Global.pretrained_model or config.Global.output_dir)
    except UserError as error:
        raise UserError(f"random weights are not scored, and {error}, with -o Global.pretrained_model=PATH") from None
    select_device(config.Global.device)
    with paddle.utils.unique_name.guard():
        network = parts.build_network(config)
        load_pretrained(network, weights)
        loaders = parts.build_loaders(config, load_dataset(config.DataLoader.dataset, config.DataLoader.root))
    results: dict[str, Any] = {"weights": str(weights)}
    for part in ("val", "test"):
        loader = getattr(loaders, part)
        if loader is not None:
            scores = asdict(evaluate(network, loader))
            del scores["confusion"]
            results[part] = scores
    return results
