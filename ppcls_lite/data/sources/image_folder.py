"""Images in one folder per class, in the layout that torchvision's ImageFolder and ILSVRC's training images have."""

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading
from ppcls_lite.data.files import files_dataset
from ppcls_lite.data.names import FileNames
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
LAYOUTS = "train/CLASS/*.jpg (and the same in val/ and test/, which may be missing), or CLASS/*.jpg without parts"


@register_dataset
def image_folder(*, root: Text = None) -> "ImageFolder":
    """Images in ``root/train/CLASS/`` and, where there are, ``root/val/CLASS/`` and ``root/test/CLASS/``; or without
    parts in ``root/CLASS/``. Images in folders below CLASS belong to it, too. Classes are numbered in the order of
    their sorted names.

    Raises:
        UserError: no root is given.
    """
    if not root:
        raise UserError(f"image_folder needs DataLoader.root, a folder with {LAYOUTS}")
    return ImageFolder(user_path(root))


class ImageFolder:
    """Image files in one folder per class. Hidden files and folders are left out, links are followed."""

    def __init__(self, root: Path):
        self.root = root

    @functools.cached_property
    def spec(self) -> DataSpec:
        """Its classes, by the names of the folders; no image is looked at.

        Raises:
            UserError: the folder is missing or its layout is another one.
        """
        return DataSpec("image_folder", {"label": Column("class", self._classes)})

    def fetch(self) -> None:
        """Nothing to download."""

    def load(self, reading: Reading) -> Dataset:
        """List its files; images are decoded when they are read.

        Raises:
            UserError: the layout is another one, a class has no training images, or a part has a class of its own.
        """
        spec = self.spec
        parts = {part: self._list(part, folder) for part, folder in self._folders.items()}
        return files_dataset(spec, parts, reading, str(self.root))

    @functools.cached_property
    def _folders(self) -> dict[str, Path]:
        """The folder of each part; the root itself for ``train`` where there are no parts."""
        if not self.root.is_dir():
            reason = "is a file" if self.root.exists() else "does not exist"
            raise UserError(f"DataLoader.root {self.root} {reason}; expected a folder with {LAYOUTS}")
        names = _subfolders(self.root)
        if "train" not in names or not _subfolders(self.root / "train"):
            self._check_no_parts(names)
            return {"train": self.root}
        others = [name for name in names if name not in PARTS and _holds_images(self.root / name)]
        if others:
            raise UserError(
                f"{self.root} has train/ and beside it the folder {others[0]}/ with images; only val/ and test/ may "
                f"be there: rename it, or move it elsewhere"
            )
        return {part: self.root / part for part in PARTS if part in names}

    def _check_no_parts(self, names: list[str]) -> None:
        part = next((name for name in ("val", "test") if name in names and _subfolders(self.root / name)), None)
        if part:
            raise UserError(f"{self.root} has {part}/ with class folders, and train/ without; expected {LAYOUTS}")

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        train = self._folders["train"]
        names = _subfolders(train)
        if len(names) < 2:
            found = f"the single folder {names[0]}/" if names else "no folders"
            raise UserError(f"{train} has {found}, and two or more classes are needed; expected {LAYOUTS}")
        return tuple(names)

    def _list(self, part: str, folder: Path) -> tuple[FileNames, np.ndarray]:
        """Names and labels of a part, sorted by class and name."""
        names = _subfolders(folder)
        label_of = {name: label for label, name in enumerate(self._classes)}
        foreign = [name for name in names if name not in label_of]
        if foreign:
            raise UserError(
                f"{folder} has the class folder {foreign[0]}/, which {self._folders['train']} lacks; rename it, "
                f"move it elsewhere, or add training images"
            )
        if not names:
            raise UserError(
                f"{folder} has no class folders; expected {part}/CLASS/*.jpg: sort its images into them, move it "
                f"elsewhere, or use the data set list_file"
            )
        loose = sum(_is_image(entry) for entry in os.scandir(folder))
        if loose:
            logger.warning("warning: %s outside the class folders of %s left out", count(loose, "image"), folder)
        files = {name: sorted(_images(self.root, (folder / name).relative_to(self.root))) for name in names}
        empty = [name for name in names if not files[name]]
        if empty and (part == "train" or len(empty) == len(names)):
            raise UserError(
                f"{folder / empty[0]} has no images (files ending in .jpg, .png, .bmp, .webp, .tif and the like); "
                f"add some, or remove the folder"
            )
        packed = FileNames.pack(str(self.root), (path for name in names for path in files[name]))
        counts = [len(files[name]) for name in names]
        return packed, np.repeat([label_of[name] for name in names], counts).astype(np.int64)


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders in one, hidden ones left out, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None


def _is_image(entry: os.DirEntry) -> bool:
    """Whether its name is that of an image file; a broken link counts, and is reported as missing later."""
    name = os.fsdecode(entry.name)
    if name.startswith(".") or not name.lower().endswith(SUFFIXES):
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _images(root: Path, folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[bytes]:
    """Paths relative to the root of all images in ``folder``, itself relative to it, and below."""
    try:
        status = os.stat(root / folder)
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder around it
            return
        prefix = os.fsencode(folder)
        with os.scandir(os.fsencode(root / folder)) as entries:
            for entry in entries:
                if _is_image(entry):
                    yield b"%b/%b" % (prefix, entry.name)
                elif not entry.name.startswith(b".") and entry.is_dir():
                    yield from _images(root, folder / os.fsdecode(entry.name), (*above, here))
    except OSError as error:
        raise UserError(f"{root / folder}: {error.strerror}") from None


def _holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder or one of its folders."""
    places = [folder, *(folder / name for name in _subfolders(folder))]
    return any(_is_image(entry) for place in places for entry in os.scandir(place))
