"""Shared by the tools: arguments, the environment that paddle needs, errors and exit codes."""

import argparse
import contextlib
import errno
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import TrainingError, UserError
from ppcls_lite.utils.logs import Console
from ppcls_lite.utils.resources import count_cores, needs_mkl_hint
from ppcls_lite.utils.signals import defer_signals, exit_on_signal
from ppcls_lite.utils.text import escape

# A full or broken disk is not a mistake in the input.
_DEVICE_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS)
_console = Console(sys.stdout)


def log_to_stderr() -> None:
    """Reserve standard output for a tool's result (``--json``)."""
    _console.setStream(sys.stderr)


def parser(doc: str) -> argparse.ArgumentParser:
    """An argument parser that shows ``doc`` without reformatting it."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def config_parser(doc: str, required: bool = True) -> argparse.ArgumentParser:
    """:func:`parser` with ``-c CONFIG`` and ``-o KEY=VALUE ...``."""
    result = parser(doc)
    result.add_argument("-c", "--config", required=required, metavar="CONFIG", help="YAML file, see configs/")
    add_overrides(result, "settings that override the file's, such as Global.epochs=5 DataLoader.batch_size=64")
    return result


def add_overrides(to: argparse.ArgumentParser, purpose: str) -> None:
    """Add ``-o KEY=VALUE ...`` to a parser."""
    to.add_argument("-o", "--override", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=purpose)


def new_file(path: str | Path, option: str) -> Path:
    """A file to write later, checked before the work that makes its content; its folder need not exist yet.

    Raises:
        UserError: the file exists (nothing is ever overwritten), or it cannot be written.
    """
    file = Path(path)
    if file.exists():
        raise UserError(f"{option}: {file} exists; choose another path, or remove it")
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{option}: {folder} is not writable; choose another path")
    return file


def run(main: Callable[[], None]) -> None:
    """Run a tool's ``main`` and exit: 0; 2 for bad input, 1 for a run that cannot continue, 130 for Ctrl-C."""
    logger = logging.getLogger("ppcls_lite")
    logger.setLevel(logging.INFO)
    logger.addHandler(_console)
    logger.propagate = False  # paddle 2.6 changes the root logger
    logging.raiseExceptions = False  # no tracebacks from handlers, including tqdm's, whose stream is closed
    try:
        main()
    except (UserError, TrainingError) as error:
        _exit(str(error), 2 if isinstance(error, UserError) else 1)
    except MemoryError as error:
        reason = next((f" ({line.strip()})" for line in str(error).splitlines() if line.strip()), "")
        _exit(f"out of memory{reason}; use a smaller batch; for training, tools/train.py --dry-run tells which fits", 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has ended
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _exit(f"{place}{error.strerror}", 1 if error.errno in _DEVICE_FAILED else 2)
    finally:
        if _console.failed and sys.stdout is not None:
            _discard_output()


def _discard_output() -> None:
    """Let Python's last flush of what could not be written succeed; else it changes the exit status to 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(message: str, status: int) -> None:
    print(f"error: {escape(message)}", file=sys.stderr)
    processes.let_first_end()
    sys.exit(status)


def import_paddle(
    computes: bool = True, threads: int | None = None, quiet: bool = False, several: bool = False
) -> None:
    """Import paddle with as many threads as this process may use, unless OMP_NUM_THREADS is set.

    Paddle reads OMP_NUM_THREADS when it is imported and uses one thread without it.

    Args:
        computes: False leaves OMP_NUM_THREADS unset for the processes that this one starts.
        threads: number of threads, overriding OMP_NUM_THREADS.
        quiet: suppress the messages of paddle's tracing and inference.
        several: whether the program supports several processes.

    Raises:
        UserError: see :func:`processes.check_environment`.
    """
    processes.check_environment(several)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if quiet:
        os.environ.setdefault("GLOG_minloglevel", "2")
    if computes:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, count_cores() // processes.count_local())))
    # Waiting threads spin for 1 ms instead of 200: on shared cores, a step took twelve times as long.
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    # The MKL in Paddle's wheels (2019) uses AVX2 on Intel CPUs only: on an AMD EPYC, training took 1.3 to 2.7 times as
    # long (docs/results.md).
    if needs_mkl_hint():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    # Paddle warns of more than one thread on any machine, and of a missing ccache.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.filterwarnings("ignore", module="paddle")
    # During the import an interruption would surface as another error, and paddle's handler would exit at once.
    with defer_signals(), contextlib.redirect_stderr(io.StringIO()):
        import paddle  # noqa: F401
    signal.signal(signal.SIGTERM, exit_on_signal)
