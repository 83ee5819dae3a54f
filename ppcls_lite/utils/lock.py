"""One process to a folder."""

import fcntl
import logging
import os
import time
from pathlib import Path

from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)


class FolderLock:
    """Claims a folder for this process; the system lets go when the process ends, however it ends. Leaves no file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Claim the folder, unless this object has it already; whether it is newly claimed.

        Args:
            patience: seconds to wait for a process that is about to end.

        Raises:
            UserError: another process has it.
        """
        if self._descriptor is not None:
            return False
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._wait_for(descriptor, patience)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                f"{self.folder} is in use by another process; wait for it, or take another folder"
            ) from None
        except OSError as error:  # some network file systems
            logger.info("%s cannot be locked (%s): see that no other process writes there", self.folder, error.strerror)
        self._descriptor = descriptor
        return True

    def _wait_for(self, descriptor: int, patience: float) -> None:
        deadline, said = time.monotonic() + patience, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
            if not said:
                logger.info("%s is in use by another process; waiting %.0f s for its end", self.folder, patience)
                said = True
            time.sleep(0.2)

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
