"""Reading parts of large files on disk: members of a tar archive, rows of a table."""

import os
import tarfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.data.files import FileNames
from ppcls_lite.data.image_file import FileBytes
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes

MAX_MEMBER_BYTES = 1 << 30
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd", b"PK": "zip", b"Ra": "rar"}


class OpenFile:
    """A file that is opened once and read at any position, also by processes that are forked later.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from ``start`` on.

        Raises:
            UserError: the file is missing, or has become shorter.
        """
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY)
                weakref.finalize(self, os.close, self._descriptor)
            data = os.pread(self._descriptor, size, start)  # leaves the position, which forked processes share
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}; restore the file") from None
        if len(data) != size:
            raise UserError(f"{self.path} has become shorter since it was opened; restore it and start again")
        return data


@dataclass(frozen=True)
class TarMembers(FileNames):
    """Files inside an uncompressed tar archive, ``root``; each takes 16 bytes more than its name.

    Args:
        starts, lengths: int64 [N], where the contents of each file are, and their size; -1 for missing files.
        archive: the archive.
    """

    starts: np.ndarray
    lengths: np.ndarray
    archive: OpenFile

    def file(self, index: int) -> FileBytes:
        """Read the file at ``index``.

        Raises:
            UserError: the archive lacks it, or it is too large.
        """
        name, size = self.path(index), int(self.lengths[index])
        if size < 0:
            raise UserError(f"{name}: the archive has no such file; restore it or correct the table")
        if size > MAX_MEMBER_BYTES:
            raise UserError(f"{name}: it has more than {describe_bytes(MAX_MEMBER_BYTES)}; use a smaller image")
        return FileBytes(name, self.archive.read(int(self.starts[index]), size))

    def sizes(self) -> np.ndarray:
        return self.lengths


def find_members(archive: Path, names: Iterable[bytes]) -> TarMembers:
    """Look up files in a tar archive by their names, which may come several times.

    The archive's list of contents is read once, and only what ``names`` has is kept. ``./x`` and ``x`` are the same
    name. As in unpacking, the last of several files with one name counts.

    Raises:
        UserError: the archive is missing, damaged, compressed or not a tar archive.
    """
    packed = FileNames.pack(str(archive), names)
    numbers: dict[bytes, int] = {}
    places = np.empty(len(packed), np.int64)
    for index in range(len(packed)):
        places[index] = numbers.setdefault(packed.name(index).removeprefix(b"./"), len(numbers))
    starts, lengths = (np.full(len(numbers), -1, np.int64) for _ in range(2))
    try:
        with open(archive, "rb") as file:
            kind = _COMPRESSED.get(file.read(2))
            if kind:
                raise UserError(
                    f"{archive} is compressed ({kind}); unpack it and set DataLoader.root to the folder, or make a tar "
                    f"archive without compression"
                )
            total = file.seek(0, os.SEEK_END)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # a million of them would take more than 1 GB
                    number = numbers.get(os.fsencode(member.name).removeprefix(b"./")) if member.isreg() else None
                    if member.isreg() and member.offset_data + member.size > total:
                        raise tarfile.ReadError(f"{member.name} is cut off")
                    if number is not None:
                        starts[number], lengths[number] = member.offset_data, member.size
    except UserError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{archive} is damaged or not a tar archive ({reason}); expected one made by tar -cf") from None
    return TarMembers(packed.root, packed.joined, packed.ends, starts[places], lengths[places], OpenFile(archive))
