"""File names by the million, in little memory."""

import contextlib
import hashlib
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FileNames:
    """Names of files below a common folder.

    They are stored in two blocks of memory, not as one object each: 1.28 million take about 50 MB, and forked worker
    processes share these with their parent.

    Args:
        root: the folder; a name that is an absolute path stands for itself.
        joined: all names as the system has them, one after another.
        ends: int64 [N], where in ``joined`` each one ends.
    """

    root: str
    joined: bytes
    ends: np.ndarray

    @classmethod
    def pack(cls, root: str, names: Iterable[bytes]) -> "FileNames":
        """Pack ``names``, which may come one by one."""
        joined, ends = bytearray(), array("q")
        for name in names:
            joined += name
            ends.append(len(joined))
        return cls(root, bytes(joined), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        """The name at ``index``, relative to the root, as the system has it."""
        start = int(self.ends[index - 1]) if index else 0
        return self.joined[start : int(self.ends[index])]

    def path(self, index: int) -> str:
        """The path of the file at ``index``; bytes that are not UTF-8 are kept as surrogates."""
        return os.path.join(self.root, os.fsdecode(self.name(index)))

    def sizes(self) -> np.ndarray:
        """Sizes of the files in bytes, int64 [N]; -1 where there is none that can be reached.

        Raises:
            OSError: the root is not there.
        """
        sizes = np.full(len(self), -1, np.int64)
        root = os.open(self.root, os.O_RDONLY)  # looking names up from there takes less time than by whole paths
        try:
            start = 0
            for index, end in enumerate(self.ends.tolist()):
                with contextlib.suppress(OSError, ValueError):
                    sizes[index] = os.stat(self.joined[start:end], dir_fd=root).st_size
                start = end
        finally:
            os.close(root)
        return sizes

    def update(self, digest: "hashlib._Hash") -> None:
        """Add the names, without the root, to a checksum."""
        digest.update(self.ends.astype("<i8"))
        digest.update(self.joined)
