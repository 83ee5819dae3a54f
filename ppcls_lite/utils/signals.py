"""Ctrl-C and SIGTERM: orderly exit, and deferring them while the program must not be interrupted."""

import contextlib
import signal
import threading
from collections.abc import Iterator


def exit_on_signal(number, _frame) -> None:
    """A signal handler that exits by an exception, so that ``finally`` blocks run."""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block has succeeded; if it fails, its error ends the program instead."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    received: list[int] = []
    endings = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _frame: received.append(n)) for number in endings}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])
