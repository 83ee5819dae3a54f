"""The one loader: batches of a split in memory, seeded, augmented and sharded."""

from collections.abc import Iterator, Sequence

import numpy as np

from ppcls_lite.data.arrays import Split
from ppcls_lite.data.augment import normalize, random_crop, random_flip
from ppcls_lite.errors import UserError


class ArrayLoader:
    """Iterates over (images float32 [N, C, H, W], labels int64 [N]); ``paddle.Model.fit`` takes it as it is.

    Order and augmentation follow from (seed, epoch, rank) alone, so that an epoch can be repeated after a resume, and
    another seed or epoch gives another order.

    Args:
        split: the images.
        batch_size: images per process and step.
        mean, std: per channel, see ``augment.normalize``; 0 and 1 leave the images in [0, 1].
        shuffle: another order each epoch.
        crop_padding: padding of the random crop; 0 for none.
        flip: mirror half of the images.
        drop_last: leave out a last batch that is not full.
        seed: of order and augmentation.
        rank, world_size: this process among all of the run. When shuffling (training), a step of all processes takes
            the images that one process with ``batch_size * world_size`` would take, every ``world_size``-th is this
            one's, and all step equally often. Otherwise (scoring) whole batches are dealt out, so that a batch is the
            same whatever their number. No image is taken twice, none is left out.

    Attributes:
        share: while training, what the mean over this process's last batch counts in the mean over all processes: 1
            for equal shares, and more for more images in a last batch that does not divide evenly.
        step_images: images of that step in all processes.

    Raises:
        UserError: not one full batch, or fewer images than processes.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        shuffle: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.split, self.batch_size = split, batch_size
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.shuffle, self.crop_padding, self.flip, self.drop_last = shuffle, crop_padding, flip, drop_last
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        self.share, self.step_images = 1.0, 0
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

    def _shards(self, order: np.ndarray) -> Iterator[np.ndarray]:
        if not self.shuffle:
            for i in range(len(self)):
                start = (i * self.world_size + self.rank) * self.batch_size
                yield order[start : start + self.batch_size]
            return
        size, steps = self.batch_size * self.world_size, len(self)
        for i in range(steps):
            last = i == steps - 1 and not self.drop_last
            step = order[i * size : None if last else (i + 1) * size]
            mine = step[self.rank :: self.world_size]
            self.share, self.step_images = len(mine) * self.world_size / len(step), len(step)
            yield mine

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(self.split))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split))
        augmentation = np.random.default_rng([self.seed, self.epoch, 1 + self.rank])
        for chosen in self._shards(order):
            images = self.split.images[chosen]
            if self.crop_padding:
                images = random_crop(images, self.crop_padding, augmentation)
            if self.flip:
                images = random_flip(images, augmentation)
            yield normalize(images, self.mean, self.std), self.split.labels[chosen]
