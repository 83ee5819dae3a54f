"""A lock on a folder, so that one process works in it at a time."""

import fcntl
import logging
import os
import time
from pathlib import Path

from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)


class FolderLock:
    """Locks a folder for this process; the system releases the lock when the process ends. Leaves no file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Lock the folder; returns False if this object holds the lock already.

        Args:
            patience: seconds to wait for another process to end.

        Raises:
            UserError: another process holds the lock.
        """
        if self._descriptor is not None:
            return False
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        deadline, logged = time.monotonic() + patience, False
        while self._descriptor is None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise UserError(
                        f"{self.folder} is in use by another process; wait for it, or choose another folder"
                    ) from None
                if not logged:
                    logger.info("%s is in use by another process; waiting up to %.0f s", self.folder, patience)
                logged = True
                time.sleep(0.2)
                continue
            except OSError as error:  # some network file systems
                logger.info(
                    "%s cannot be locked (%s); make sure no other process writes there", self.folder, error.strerror
                )
            self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
