"""What every model of transformers is loaded with: no conversion service, and no table of weights in the log."""

import contextlib
import logging
import os
from collections.abc import Iterator


def refuse_conversion() -> None:
    """For a model without safetensors transformers would send its name and the user's token to a conversion service."""
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"


@contextlib.contextmanager
def quiet_report() -> Iterator[None]:
    """Without the table in which transformers warns of weights that its caller checks, or does not need.

    A filter and no level: where this logger has a level of its own, transformers also lists the layers that tensor
    parallelism, which nobody asked for, leaves whole.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_error)
    try:
        yield
    finally:
        logger.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
