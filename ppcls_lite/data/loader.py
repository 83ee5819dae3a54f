"""Batches of a split: shuffled, augmented and sharded over processes, with a weight for each sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from ppcls_lite.data.dataset import Split
from ppcls_lite.data.pipeline import Augmentation, Pipeline
from ppcls_lite.data.transforms import random_crop, random_flip
from ppcls_lite.utils.errors import UserError


class BatchLoader:
    """Iterates over a network's inputs, targets and weights float32 [N], for ``paddle.Model.fit``.

    The inputs are images uint8 [N, C, H, W], or rows of a table float32 [N, width], or both in this order. Targets that
    are mixed (Mixup, CutMix) are float32: [N, classes] for classes.

    Order and augmentation depend on (seed, epoch, rank) only, so a resumed run repeats an epoch exactly.

    The loss of a batch is the sum of each sample's loss times its weight. In training, the weights of one step add up
    to the number of processes over all processes. Paddle averages their gradients, so each step minimizes the mean over
    all its images even if processes have batches of different sizes. ``class_weights`` multiply them; a mixed image has
    the mean of its classes' weights. In scoring, each weight is 1.

    With ``update_freq`` the gradients of that many steps are added up for each update, and the weights of these steps
    together add up to the number of processes. The last update of an epoch has the steps that are left.

    Args:
        split: the samples.
        target: their targets, [N] or [N, K].
        batch_size: images per process and step.
        shuffle: use a new order each epoch (training).
        crop_padding: padding of the random crop; 0 for none.
        flip: flip images horizontally with probability 1/2.
        pipeline: transforms of training; None for those of scoring.
        soften: returns targets that can be mixed, float32 (see ``Task.soften``).
        class_weights: weight of each class in training, float64 [classes]; None for 1. See :func:`scale_class_weights`.
        balanced: draw each class equally often in training. An epoch keeps its length, so images of rare classes are
            drawn several times and some of frequent classes not at all.
        drop_last: drop an incomplete last batch.
        update_freq: steps for each update.
        seed: seed for order and augmentation.
        rank, world_size: this process and the number of processes. With ``shuffle``, a step takes the images that one
            process with ``batch_size * world_size`` would take; this process gets every ``world_size``-th of them, and
            all processes take the same number of steps. Otherwise whole batches are distributed, so batches do not
            depend on ``world_size``. Each image is used exactly once, unless ``balanced``.

    Raises:
        UserError: there are too few images for a full batch, or fewer images than processes.
    """

    def __init__(
        self,
        split: Split,
        target: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        pipeline: Pipeline | None = None,
        soften: Callable[[np.ndarray], np.ndarray] = lambda target: target.astype(np.float32),
        class_weights: np.ndarray | None = None,
        balanced: bool = False,
        drop_last: bool = False,
        update_freq: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.split, self.target, self.batch_size = split, target, batch_size
        self.shuffle, self.crop_padding, self.flip, self.drop_last = shuffle, crop_padding, flip, drop_last
        self.update_freq, self.seed, self.rank, self.world_size = update_freq, seed, rank, world_size
        self.pipeline, self.soften, self.class_weights, self.balanced = pipeline, soften, class_weights, balanced
        self.epoch = 0
        if drop_last and len(self) == 0:
            raise UserError(
                f"DataLoader.batch_size {batch_size} is more than the {len(split) // world_size} training images "
                f"of a process; set a smaller one, DataLoader.drop_last=false, or start fewer processes"
            )
        if shuffle and len(self) == 0:
            raise UserError(f"{len(split)} training images are too few for {world_size} processes; start fewer")

    @property
    def largest_batch(self) -> int:
        """Number of images in this process's largest batch."""
        return min(self.batch_size, len(self.split))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines order and augmentation."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of batches of one epoch in this process."""
        if not self.shuffle:
            full, rest = divmod(len(self.split), self.batch_size)
            return len(range(self.rank, full + (rest > 0 and not self.drop_last), self.world_size))
        full, rest = divmod(len(self.split), self.batch_size * self.world_size)
        # A remainder with fewer images than processes is added to the previous step.
        return full + (rest >= self.world_size and not self.drop_last)

    def step_size(self, step: int) -> int:
        """Number of images of a training step over all processes."""
        size = self.batch_size * self.world_size
        last = step == len(self) - 1 and not self.drop_last
        return len(self.split) - step * size if last else size

    @property
    def updates(self) -> int:
        """Number of updates of one epoch."""
        return -(-len(self) // self.update_freq)

    def ends_update(self, step: int) -> bool:
        """Whether the weights are updated after a step."""
        return (step + 1) % self.update_freq == 0 or step + 1 == len(self)

    def update_size(self, step: int) -> int:
        """Number of images, over all processes, of the update that a training step belongs to."""
        first = step - step % self.update_freq
        return sum(map(self.step_size, range(first, min(first + self.update_freq, len(self)))))

    def batches(self) -> list[np.ndarray]:
        """This process's batches of the epoch, as indices into the split."""
        if not self.shuffle:
            order = np.arange(len(self.split))
            starts = [(i * self.world_size + self.rank) * self.batch_size for i in range(len(self))]
            return [order[start : start + self.batch_size] for start in starts]
        rng = np.random.default_rng([self.seed, self.epoch])
        order = draw_balanced(self.target, rng) if self.balanced else rng.permutation(len(self.split))
        size = self.batch_size * self.world_size
        steps = [order[i * size : i * size + self.step_size(i)] for i in range(len(self))]
        return [step[self.rank :: self.world_size] for step in steps]

    def read(self) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
        """The batches of the epoch: images uint8 [N, C, H, W], or None, and the indices int64 [N] that were read."""
        pipeline, step_size = self.pipeline, self.batch_size * self.world_size
        transforms = pipeline and Augmentation(pipeline, self.seed, self.epoch, step_size, self.rank, self.world_size)
        if self.split.images is None:
            return ((None, chosen) for chosen in self.batches())
        return self.split.images.read(self.batches(), transforms)

    def inputs(self, images: np.ndarray | None, chosen: np.ndarray) -> list[np.ndarray]:
        """The network's inputs of a batch of :meth:`read`."""
        table = [] if self.split.table is None else [self.split.table[chosen]]
        return table if images is None else [images, *table]

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        augmentation = np.random.default_rng([self.seed, self.epoch, 1 + self.rank])
        pipeline = self.pipeline
        for step, (images, chosen) in enumerate(self.read()):
            if not len(chosen):
                raise UserError("no image of a batch could be read; tools/train.py --check-data lists unreadable files")
            if self.crop_padding:
                images = random_crop(images, self.crop_padding, augmentation)
            if self.flip:
                images = random_flip(images, augmentation)
            weights = np.full(len(chosen), self.world_size / self.update_size(step) if self.shuffle else 1.0)
            targets = self.target[chosen]
            if pipeline is not None and pipeline.batch:
                images, targets = pipeline.mix(images, self.soften(targets), augmentation)
            if self.class_weights is not None:
                weights *= targets @ self.class_weights if targets.ndim == 2 else self.class_weights[targets]
            yield *self.inputs(images, chosen), targets, weights.astype(np.float32)


def scale_class_weights(weights: Literal["balanced"] | Sequence[float], labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights float64 [classes] whose mean over the images is 1; classes beyond those given get 0.

    Args:
        weights: one for each class; ``balanced`` is inversely proportional to the number of images of a class.
        labels: int64 [N] of the training images.
    """
    counts = np.bincount(labels, minlength=classes)
    scaled = np.zeros(classes)
    if weights == "balanced":
        scaled[counts > 0] = 1 / counts[counts > 0]
    else:
        scaled[: len(weights)] = weights
    return scaled * len(labels) / (scaled @ counts)


def draw_balanced(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as labels, in random order: each class equally often, and each of its images equally often.

    Numbers differ by at most one where they cannot be equal.
    """
    counts = np.unique(labels, return_counts=True)[1]
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    shares = np.full(len(members), len(labels) // len(members))
    shares[rng.permutation(len(members))[: len(labels) % len(members)]] += 1
    drawn = []
    for own, share in zip(members, shares.tolist(), strict=True):
        rounds = [rng.permutation(own) for _ in range(-(-share // len(own)))]
        drawn.append(np.concatenate(rounds)[:share])
    return rng.permutation(np.concatenate(drawn))
