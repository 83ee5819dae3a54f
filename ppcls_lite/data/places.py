"""Where the files of a data set are: a root that was named, PPCLS_DATA, Paddle's cache, or a download into that."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path

logger = logging.getLogger(__name__)


def cache_folder(name: str) -> Path:
    """Paddle's own folder for a data set."""
    from paddle.dataset.common import DATA_HOME

    return Path(DATA_HOME) / name


def locate(title: str, root: str | Path | None, cache: str, look_in: Callable[[Path], Path | None]) -> Path | None:
    """Where a data set is on this machine: in ``root`` or, without it, in PPCLS_DATA or Paddle's cache; None: nowhere.

    Args:
        title: the data set's name, for the log.
        root: what ``DataLoader.root`` says.
        cache: the folder's name in Paddle's cache.
        look_in: what is found in a folder, or None.
    """
    if root:
        return look_in(user_path(root))
    data_dir = os.environ.get("PPCLS_DATA")
    if data_dir:
        found = look_in(user_path(data_dir))
        if found is not None:
            return found
        logger.info("PPCLS_DATA %s holds no %s; looking in %s", data_dir, title, cache_folder(cache))
    return look_in(cache_folder(cache))


def download(title: str, cache: str, files: Mapping[str, tuple[str, str]]) -> None:
    """Download files into Paddle's cache.

    Args:
        title: the data set's name, for the error message.
        cache: the folder's name in Paddle's cache.
        files: by file name, URL and md5.

    Raises:
        UserError: the download failed.
    """
    from paddle.dataset.common import download as fetch

    folder = cache_folder(cache)
    for name, (url, md5) in files.items():
        # Under another name until its md5 is right, so that an interrupted download is never taken for the file.
        try:
            partial = fetch(url, cache, md5, save_name=f"{name}.part")
        except Exception as error:  # httpx, OSError or RuntimeError, by Paddle version
            reason = str(error).strip() or type(error).__name__
            raise UserError(
                f"{title} is neither in PPCLS_DATA nor in {folder}, and the download failed ({reason}); "
                f"put {', '.join(files)} into a folder and name it with -o DataLoader.root=FOLDER"
            ) from None
        os.replace(partial, folder / name)
