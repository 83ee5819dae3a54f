"""Random states that follow from (seed, epoch), so that a resumed epoch draws what the uninterrupted one drew."""

import random

import numpy as np
import paddle


def seed_everything(seed: int, epoch: int = 0, rank: int = 0) -> None:
    """Seed python, numpy and paddle for an epoch (0: construction of the network).

    Ranks differ in what they draw while training, and agree at construction.
    """
    state = np.random.SeedSequence([seed, epoch, rank if epoch else 0]).generate_state(1)
    value = int(state[0])
    random.seed(value)
    np.random.seed(value)
    paddle.seed(value)
