"""When a run has to stop, to be gone on with by the same command."""

import time


class Deadline:
    def __init__(self, minutes: float = float("inf")):
        self.at = time.time() + 60 * minutes

    def passed(self) -> bool:
        return time.time() > self.at
