"""Finding the files of a data set: in a given root, PPCLS_DATA or Paddle's cache, else by download into the cache."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path

logger = logging.getLogger(__name__)


def find_file(path: str | Path, folder: Path) -> Path:
    """``path`` relative to the working directory, or relative to ``folder`` if it only exists there."""
    found = user_path(path)
    return folder / found if not found.exists() and (folder / found).exists() else found


@dataclass(frozen=True)
class Published:
    """A published data set.

    Args:
        title: its name in messages.
        cache: name of its folder in Paddle's cache.
        contents: what messages say that a folder must contain.
        look_in: returns the place of the files in a folder, or None.
        files: returns URL and md5 by file name.
    """

    title: str
    cache: str
    contents: str
    look_in: Callable[[Path], Path | None]
    files: Callable[[], Mapping[str, tuple[str, str]]]

    def find(self, root: str | Path | None = None) -> Path:
        """The place of the files, which are downloaded if they are not on this machine.

        Raises:
            UserError: ``root`` is given and lacks them, or the download failed.
        """
        found = self.locate(root)
        if found is None and root:
            raise UserError(f"DataLoader.root {root} lacks {self.contents}")
        return found or self._download()

    def locate(self, root: str | Path | None = None) -> Path | None:
        """The place of the files: in ``root`` if given, else in PPCLS_DATA or Paddle's cache; None if not found."""
        if root:
            return self.look_in(user_path(root))
        data_dir = os.environ.get("PPCLS_DATA")
        found = self.look_in(user_path(data_dir)) if data_dir else None
        if found is None and data_dir:
            logger.info("PPCLS_DATA %s has no %s; looking in %s", data_dir, self.title, self._cache_folder())
        return found or self.look_in(self._cache_folder())

    def _cache_folder(self) -> Path:
        from paddle.dataset.common import DATA_HOME

        return Path(DATA_HOME) / self.cache

    def _download(self) -> Path:
        from paddle.dataset.common import download

        folder, files = self._cache_folder(), self.files()
        for name, (url, md5) in files.items():
            # The file gets its name once its md5 is correct, so an interrupted download is never used.
            try:
                partial = download(url, self.cache, md5, save_name=f"{name}.part")
            except Exception as error:  # httpx errors, OSError or RuntimeError, depending on paddle's version
                reason = str(error).strip() or type(error).__name__
                raise UserError(
                    f"{self.title} is neither in PPCLS_DATA nor in {folder}, and the download failed ({reason}); "
                    f"put {', '.join(files)} into a folder and set -o DataLoader.root=FOLDER"
                ) from None
            os.replace(partial, folder / name)
        return self.look_in(folder)
