"""Running the project's own code without its words among ours."""

import contextlib
import io
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """env.py may print and log, and its fileConfig replaces handlers and disables loggers: keep all quiet,
    and ours as they are."""
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    before = [(logger, list(logger.handlers), logger.level, logger.disabled) for logger in loggers]
    quiet_below = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(quiet_below)
        for logger, handlers, level, disabled in before:
            logger.handlers[:], logger.disabled = handlers, disabled
            logger.setLevel(level)
