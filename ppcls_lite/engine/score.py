"""``score(config, weights)``: the scores of trained weights."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppcls_lite.config import Config
from ppcls_lite.data import load_dataset
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.engine.parts import build_loaders
from ppcls_lite.engine.prepare import open_device
from ppcls_lite.engine.trained import load_trained


def score(config: Config, weights: str | Path) -> dict[str, Any]:
    """Score weights on the test images, and on the validation images where there are any.

    Returns:
        ``weights`` (the file), and ``test`` (and ``val``) with loss, top1, top5, images, seconds.

    Raises:
        UserError: weights that are not readable or do not fit.
    """
    open_device(config)
    network = load_trained(config, weights)
    loaders = build_loaders(config, load_dataset(config.DataLoader.dataset, config.DataLoader.root))
    results: dict[str, Any] = {"weights": str(weights)}
    for part in ("val", "test"):
        loader = getattr(loaders, part)
        if loader is not None:
            scores = asdict(evaluate(network, loader))
            del scores["confusion"]
            results[part] = scores
    return results
