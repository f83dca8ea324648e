"""Progress of long work: a bar with an ETA on a terminal, plain lines in a log."""

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
    """Yield the items and show how far the work is; `what` names it."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, file=sys.stderr)
        return
    begun = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= LINE_EVERY_S or done == len(items):
            spent, shown = now - begun, now
            left = spent / done * (len(items) - done)
            logger.info("%s: %d/%d, %.0f s, about %.0f s left", what, done, len(items), spent, left)
