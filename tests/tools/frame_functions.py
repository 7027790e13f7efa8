"""Functions of frames that worker processes can import."""

import dataclasses
import os
import signal
import time
from pathlib import Path

from piwsl_plugins.frames.reading import Frame


@dataclasses.dataclass(frozen=True)
class Distance:
    """The distance of the first two atoms (Å); frames with a larger one than ``deadly`` kill the
    process, the first time if ``once`` names a file to remember it by."""

    deadly: float = 1e9
    once: str = ""
    seconds: float = 0.0

    def __call__(self, frame: Frame) -> float:
        distance = float(frame.atoms.get_distance(0, 1))
        if distance > self.deadly and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if distance > 2.0:
            raise ValueError("too far")
        time.sleep(self.seconds)
        return distance
