"""The one loader: batches of a split, seeded, augmented and sharded, each sample with its weight."""

from collections.abc import Iterator

import numpy as np

from ppcls_lite.data.augment import random_crop, random_flip
from ppcls_lite.data.dataset import Split
from ppcls_lite.utils.errors import UserError


class BatchLoader:
    """Iterates over images uint8 [N, C, H, W], target [N] and weights float32 [N], for ``paddle.Model.fit``.

    Order and augmentation follow from (seed, epoch, rank) alone, so that an epoch can be repeated after a resume, and
    another seed or epoch gives another order.

    A batch's loss is the sum of its samples' losses times their weights. While training the weights of a step of all
    processes add up to the number of processes, of whose gradients paddle takes the plain mean: what is minimised is
    the mean over all images of the step, however unevenly they are shared. When scoring each weight is 1.

    Args:
        split: the images.
        column: of the target.
        batch_size: images per process and step.
        shuffle: another order each epoch.
        crop_padding: padding of the random crop; 0 for none.
        flip: mirror half of the images.
        drop_last: leave out a last batch that is not full.
        seed: of order and augmentation.
        rank, world_size: this process among all of the run. When shuffling (training), a step of all processes takes
            the images that one process with ``batch_size * world_size`` would take, every ``world_size``-th is this
            one's, and all step equally often. Otherwise (scoring) whole batches are dealt out, so that a batch is the
            same whatever their number. No image is taken twice, none is left out.

    Raises:
        UserError: not one full batch, or fewer images than processes.
    """

    def __init__(
        self,
        split: Split,
        column: str,
        batch_size: int,
        *,
        shuffle: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.split, self.column, self.batch_size = split, column, batch_size
        self.shuffle, self.crop_padding, self.flip, self.drop_last = shuffle, crop_padding, flip, drop_last
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        if drop_last and len(self) == 0:
            raise UserError(
                f"DataLoader.batch_size {batch_size} is more than the {len(split) // world_size} training images "
                f"of a process; take a smaller one, DataLoader.drop_last=false, or fewer processes"
            )
        if shuffle and len(self) == 0:
            raise UserError(f"{len(split)} training images are too few for {world_size} processes; start fewer")

    @property
    def largest_batch(self) -> int:
        """Images of this process's largest batch: ``batch_size``, or all where there are fewer."""
        return min(self.batch_size, len(self.split))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of one epoch in this process."""
        if not self.shuffle:
            full, rest = divmod(len(self.split), self.batch_size)
            return len(range(self.rank, full + (rest > 0 and not self.drop_last), self.world_size))
        full, rest = divmod(len(self.split), self.batch_size * self.world_size)
        # A rest that does not reach every process goes into the step before.
        return full + (rest >= self.world_size and not self.drop_last)

    def step_size(self, step: int) -> int:
        """Images of a training step in all processes."""
        size = self.batch_size * self.world_size
        last = step == len(self) - 1 and not self.drop_last
        return len(self.split) - step * size if last else size

    def batches(self) -> list[np.ndarray]:
        """This process's batches of the epoch, as indices of the split."""
        order = np.arange(len(self.split))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split))
        if not self.shuffle:
            starts = [(i * self.world_size + self.rank) * self.batch_size for i in range(len(self))]
            return [order[start : start + self.batch_size] for start in starts]
        size = self.batch_size * self.world_size
        steps = [order[i * size : i * size + self.step_size(i)] for i in range(len(self))]
        return [step[self.rank :: self.world_size] for step in steps]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        augmentation = np.random.default_rng([self.seed, self.epoch, 1 + self.rank])
        target = self.split.targets[self.column]
        for step, (images, chosen) in enumerate(self.split.images.read(self.batches())):
            if not len(chosen):
                raise UserError("none of the images of a batch can be read; tools/train.py --check-data names them")
            if self.crop_padding:
                images = random_crop(images, self.crop_padding, augmentation)
            if self.flip:
                images = random_flip(images, augmentation)
            weight = self.world_size / self.step_size(step) if self.shuffle else 1.0
            yield images, target[chosen], np.full(len(chosen), weight, np.float32)
