"""What the tools share: their arguments, the environment paddle wants, and how they end."""

import argparse
import contextlib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.logs import Console
from ppcls_lite.utils.resources import count_cores
from ppcls_lite.utils.signals import defer_signals, exit_on_signal
from ppcls_lite.utils.text import escape

# A disk that is full or broken is no mistake in the input.
_DEVICE_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS)
_console = Console(sys.stdout)


def log_to_stderr() -> None:
    """Leave standard output to a tool's result (``--json``)."""
    _console.setStream(sys.stderr)


def parser(doc: str) -> argparse.ArgumentParser:
    """An argument parser that shows ``doc`` as it is written."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def config_parser(doc: str, required: bool = True) -> argparse.ArgumentParser:
    """:func:`parser` with ``-c CONFIG`` and ``-o KEY=VALUE ...``."""
    result = parser(doc)
    result.add_argument("-c", "--config", required=required, metavar="CONFIG", help="YAML file, see configs/")
    add_overrides(result, "settings that replace the file's, such as Global.epochs=5 DataLoader.batch_size=64")
    return result


def add_overrides(to: argparse.ArgumentParser, purpose: str) -> None:
    """Give a parser ``-o KEY=VALUE ...``."""
    to.add_argument("-o", "--override", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=purpose)


def new_file(path: str | Path, option: str) -> Path:
    """A file that can be written, checked before the work that makes its content; its folder may have to be made.

    Raises:
        UserError: something is there, or the place cannot be written to; nothing is ever overwritten.
    """
    file = Path(path)
    if file.exists():
        raise UserError(f"{option}: {file} exists; name another place, or remove it")
    there = next(parent for parent in file.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{option}: {there} cannot be written to; name another place")
    return file


def run(main: Callable[[], None]) -> None:
    """Run a tool's ``main`` and exit: 0; 2 for bad input, 1 for a run that cannot go on, 130 for Ctrl-C."""
    logger = logging.getLogger("ppcls_lite")
    logger.setLevel(logging.INFO)
    logger.addHandler(_console)
    logger.propagate = False  # paddle 2.6 changes the root logger
    logging.raiseExceptions = False  # a handler of tqdm's, too, fails in silence where its stream does
    try:
        main()
    except UserError as error:
        print(f"error: {escape(str(error))}", file=sys.stderr)
        sys.exit(2)
    except TrainingError as error:
        print(f"error: {escape(str(error))}", file=sys.stderr)
        sys.exit(1)
    except MemoryError as error:
        advice = "take a smaller batch; for training, tools/train.py --dry-run tells which fits"
        reason = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = f" ({reason[0]})" if reason else ""
        print(f"error: memory ran out{escape(what)}; {advice}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        place = f"{escape(str(error.filename))}: " if error.filename else ""
        print(f"error: {place}{error.strerror}", file=sys.stderr)
        sys.exit(1 if error.errno in _DEVICE_FAILED else 2)


def import_paddle(
    computes: bool = True, threads: int | None = None, quiet: bool = False, several: bool = False
) -> None:
    """Import paddle with as many threads as this process may use, unless OMP_NUM_THREADS says otherwise.

    Paddle reads OMP_NUM_THREADS when it is imported and takes one thread without it. A process that ``computes``
    nothing leaves it as it is, for those that it starts.

    Args:
        threads: so many, whatever OMP_NUM_THREADS says.
        quiet: leave out what paddle's tracing and inference report of themselves.
        several: the program is one for several processes.

    Raises:
        UserError: it is not, and was started in several, or the environment says nonsense about them.
    """
    processes.check_environment(several)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if quiet:
        os.environ.setdefault("GLOG_minloglevel", "2")
    if computes:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, count_cores() // processes.count_local())))
    # Threads that wait spin for 1 ms, not 200: where others use the cores, too, a step took twelve times as long.
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    # Paddle warns of more than one thread whatever the machine, and of a missing ccache.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    import warnings

    warnings.filterwarnings("ignore", module="paddle")
    # An interruption would come out of it as another error; paddle's own handler would end the process on the spot.
    with defer_signals(), contextlib.redirect_stderr(io.StringIO()):
        import paddle  # noqa: F401
    signal.signal(signal.SIGTERM, exit_on_signal)
