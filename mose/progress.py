"""Progress of long loops: a bar on a terminal or in a notebook, log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0

T = TypeVar("T")


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield `items` and show the progress. what: name of the work."""
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        yield from tqdm(items, desc=what, file=sys.stderr)
        return
    start = last_line = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last_line >= LINE_EVERY_S or done == len(items):
            elapsed, last_line = now - start, now
            left = elapsed / done * (len(items) - done)
            logger.info(
                "%s: %d/%d, %.0f s, about %.0f s left", what, done, len(items), elapsed, left
            )
