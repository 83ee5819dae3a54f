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
        rank, world_size: this process takes every ``world_size``-th image of the common order. When shuffling
            (training) all ranks take equally many and step equally often; otherwise each image is taken exactly once.

    Raises:
        UserError: not one full batch.
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
        if drop_last and len(self) == 0:
            raise UserError(
                f"DataLoader.batch_size {batch_size} is more than the {self._images_per_rank()} training images "
                f"of a process; take a smaller one, or DataLoader.drop_last=false"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of ``epoch``."""
        self.epoch = epoch

    def _images_per_rank(self) -> int:
        n = len(self.split)
        return n // self.world_size if self.shuffle else len(range(self.rank, n, self.world_size))

    def __len__(self) -> int:
        """Batches of one epoch."""
        full, rest = divmod(self._images_per_rank(), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(self.split))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split))
        mine = order[self.rank :: self.world_size][: self._images_per_rank()]
        augmentation = np.random.default_rng([self.seed, self.epoch, 1 + self.rank])
        for i in range(len(self)):
            chosen = mine[i * self.batch_size : (i + 1) * self.batch_size]
            images = self.split.images[chosen]
            if self.crop_padding:
                images = random_crop(images, self.crop_padding, augmentation)
            if self.flip:
                images = random_flip(images, augmentation)
            yield normalize(images, self.mean, self.std), self.split.labels[chosen]
