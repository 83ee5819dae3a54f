"""One process to a folder."""

import fcntl
import logging
import os
from pathlib import Path

from ppcls_lite.errors import UserError

logger = logging.getLogger(__name__)


class FolderLock:
    """Claims a folder for this process; the system lets go when the process ends, however it ends. Leaves no file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Claim the folder, unless this object has it already.

        Raises:
            UserError: another process has it.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                f"{self.folder} is in use by another process; wait for it, or take another folder"
            ) from None
        except OSError as error:  # some network file systems
            logger.info("%s cannot be locked (%s): see that no other process writes there", self.folder, error.strerror)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
