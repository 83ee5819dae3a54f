"""Images in one folder per class, the layout of torchvision's ImageFolder and of ILSVRC's training images."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, Source
from ppcls_lite.data.files import FileNames, files_dataset
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
LAYOUTS = "train/CLASS/*.jpg (and, optionally, the same in val/ and test/), or CLASS/*.jpg without parts"


@register_dataset
def image_folder(*, root: Text = None) -> Source:
    """Images in ``root/train/CLASS/`` and, optionally, ``root/val/CLASS/`` and ``root/test/CLASS/``; or in
    ``root/CLASS/``. Images in subfolders of CLASS belong to it. Classes are numbered in the sorted order of their
    names. Hidden files and folders are ignored, and links are followed.

    Raises:
        UserError: no root is given, or its folders do not have this layout.
    """
    if not root:
        raise UserError(f"image_folder needs DataLoader.root, a folder with {LAYOUTS}")
    path = user_path(root)
    folders = _find_parts(path)
    classes = _subfolders(folders["train"])
    if len(classes) < 2:
        found = f"a single folder, {classes[0]}/" if classes else "no folders"
        raise UserError(f"{folders['train']} has {found}, but at least two classes are needed; expected {LAYOUTS}")
    spec = DataSpec("image_folder", {"label": Column("class", tuple(classes))})

    def load(reading: Reading) -> Dataset:
        parts = {part: _list(path, part, folders, classes) for part in folders}
        return files_dataset(spec, parts, reading, str(path))

    return Source(spec, load)


def _find_parts(root: Path) -> dict[str, Path]:
    """The folder of each part; ``root`` itself for ``train`` if there are no parts."""
    if not root.is_dir():
        reason = "is a file" if root.exists() else "does not exist"
        raise UserError(f"DataLoader.root {root} {reason}; expected a folder with {LAYOUTS}")
    names = _subfolders(root)
    if "train" in names and _subfolders(root / "train"):
        others = [name for name in names if name not in PARTS and _has_images(root / name)]
        if others:
            raise UserError(
                f"{root} has train/ and also a folder {others[0]}/ with images, but only val/ and test/ are expected "
                f"there; rename it or move it elsewhere"
            )
        return {part: root / part for part in PARTS if part in names}
    for part in ("val", "test"):
        if part in names and _subfolders(root / part):
            raise UserError(f"{root} has class folders in {part}/ but not in train/; expected {LAYOUTS}")
    return {"train": root}


def _list(root: Path, part: str, folders: dict[str, Path], classes: list[str]) -> tuple[FileNames, np.ndarray]:
    """Names and labels of a part, sorted by class and name.

    Raises:
        UserError: a class has no training images, or the part has no images or a class that ``train`` lacks.
    """
    folder = folders[part]
    names = _subfolders(folder)
    unknown = [name for name in names if name not in set(classes)]
    if unknown:
        raise UserError(
            f"{folder} has the class folder {unknown[0]}/, which {folders['train']} lacks; rename it, "
            f"move it elsewhere, or add training images"
        )
    if not names:
        raise UserError(
            f"{folder} has no class folders; expected {part}/CLASS/*.jpg: sort its images into class folders, move it "
            f"elsewhere, or use the data set list_file"
        )
    ignored = sum(map(_is_image, os.scandir(folder)))
    if ignored:
        logger.warning("warning: ignored %s outside the class folders of %s", count(ignored, "image"), folder)
    files = {name: sorted(_images(root, (folder / name).relative_to(root))) for name in names}
    empty = [name for name in names if not files[name]]
    if empty and (part == "train" or len(empty) == len(names)):
        raise UserError(
            f"{folder / empty[0]} has no images (files ending in .jpg, .png, .bmp, .webp, .tif and similar); "
            f"add some, or remove the folder"
        )
    labels = np.repeat([classes.index(name) for name in names], [len(files[name]) for name in names])
    return FileNames.pack(str(root), (path for name in names for path in files[name])), labels.astype(np.int64)


def _subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders inside a folder, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None


def _is_image(entry: os.DirEntry) -> bool:
    """Whether an entry has the name of an image file. A broken link counts, and is reported as missing later."""
    name = os.fsdecode(entry.name)
    if name.startswith(".") or not name.lower().endswith(SUFFIXES):
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _images(root: Path, folder: Path, parents: tuple[tuple[int, int], ...] = ()) -> Iterator[bytes]:
    """Paths of all images in ``folder`` and its subfolders; they and ``folder`` are relative to ``root``."""
    try:
        status = os.stat(root / folder)
        identity = (status.st_dev, status.st_ino)
        if identity in parents:  # a link to a folder that contains it
            return
        prefix = os.fsencode(folder)
        with os.scandir(os.fsencode(root / folder)) as entries:
            for entry in entries:
                if _is_image(entry):
                    yield b"%b/%b" % (prefix, entry.name)
                elif not entry.name.startswith(b".") and entry.is_dir():
                    yield from _images(root, folder / os.fsdecode(entry.name), (*parents, identity))
    except OSError as error:
        raise UserError(f"{root / folder}: {error.strerror}") from None


def _has_images(folder: Path) -> bool:
    """Whether there is an image in ``folder`` or one of its direct subfolders."""
    return any(_is_image(entry) for name in ("", *_subfolders(folder)) for entry in os.scandir(folder / name))
