"""The nine grades: their classes and where each one's probabilities lie in the network's answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """One grade."""

    name: str
    classes: tuple[int, ...]  # grades in the order of their probabilities
    start: int  # first channel of the network's answer

    @property
    def channels(self) -> slice:
        """Channels of the network's answer that hold the probabilities of `classes`."""
        return slice(self.start, self.start + len(self.classes))

    @property
    def is_flag(self) -> bool:
        """Whether the grade is absent or present."""
        return len(self.classes) == 2

    def index(self, grade: int) -> int:
        """Position of `grade` among the classes."""
        return self.classes.index(grade)


FLAGS = (
    "upper_endplate",
    "lower_endplate",
    "spondylolisthesis",
    "herniation",
    "narrowing",
    "bulging",
    "stenosis",
)
PFIRRMANN = Head("pfirrmann", (1, 2, 3, 4, 5), 0)
MODIC = Head("modic", (0, 1, 2, 3), 5)
HEADS: tuple[Head, ...] = (
    PFIRRMANN,
    MODIC,
    *(Head(name, (0, 1), 9 + 2 * n) for n, name in enumerate(FLAGS)),
)
# Pfirrmann from features that do not depend on the size of the disc alone: Miyazaki's grade of the neck.
MIYAZAKI = Head("pfirrmann", PFIRRMANN.classes, HEADS[-1].channels.stop)
CHANNELS = MIYAZAKI.channels.stop
