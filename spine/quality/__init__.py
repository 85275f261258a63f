"""Between label and measure: is this a spine, how good is the answer, and which findings must be withheld."""

from spine.quality.learnt import QualityModel, read_quality
from spine.quality.naming import stated_numbering
from spine.quality.verdict import judge_quality, judge_sizes
from spine.quality.withhold import withhold_grades, withhold_measurements

__all__ = [
    "QualityModel",
    "judge_quality",
    "judge_sizes",
    "read_quality",
    "stated_numbering",
    "withhold_grades",
    "withhold_measurements",
]
