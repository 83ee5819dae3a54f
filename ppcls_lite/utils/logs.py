"""Log handlers that survive a full disk or a closed pipe."""

import contextlib
import logging
import sys


class _WarnsOnce:
    """Mixin for a log handler: the first failed write is reported on standard error; nothing is raised."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self.failed and not isinstance(error, BrokenPipeError):  # the reader (head, less) ended on purpose
            target = getattr(self, "baseFilename", "standard output")
            warn(f"{target} cannot be written to ({error}); the run goes on")
        self.failed = True


class Console(_WarnsOnce, logging.StreamHandler):
    """Logs to a stream."""


class LogFile(_WarnsOnce, logging.FileHandler):
    """Logs to a file.

    Raises:
        OSError: the file cannot be opened.
    """

    def close(self) -> None:
        with contextlib.suppress(OSError):  # from lines that were not written
            super().close()


def warn(text: str) -> None:
    """Print a warning on standard error, if that is still open."""
    with contextlib.suppress(OSError):
        print(f"warning: {text}", file=sys.stderr, flush=True)
