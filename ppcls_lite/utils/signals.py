"""Ctrl-C and SIGTERM: ending a program in order, and holding them back while it must not be interrupted."""

import contextlib
import signal
import threading
from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM)


def exit_on_signal(number, _frame) -> None:
    """A signal handler that ends the program the way an error does, so that it can tidy up."""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait until the block has ended well; then they do what they would have done.

    Where the block fails its error ends the program as well, and says why.
    """
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread only
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _frame: came.append(n)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
