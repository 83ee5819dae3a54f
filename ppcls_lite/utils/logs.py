"""Handlers of log lines that a full disk or a closed pipe does not break."""

import contextlib
import logging
import sys


class _SaysOnce:
    """For a logging handler: that lines cannot be written is said once, on standard error, and nothing is raised."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if self.failed:
            return
        self.failed = True
        error = sys.exc_info()[1]
        if not isinstance(error, BrokenPipeError):  # the reader (head, less) has gone of its own will
            warn(f"{self.target} cannot be written to ({error}); the run goes on")


class Console(_SaysOnce, logging.StreamHandler):
    """Log lines on a stream."""

    target = "standard output"


class LogFile(_SaysOnce, logging.FileHandler):
    """Log lines in a file.

    Raises:
        OSError: it cannot be opened.
    """

    @property
    def target(self) -> str:
        return self.baseFilename

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of lines that were not written
            super().close()


def warn(text: str) -> None:
    """A warning on standard error, where that can be written to."""
    with contextlib.suppress(OSError):
        print(f"warning: {text}", file=sys.stderr, flush=True)
