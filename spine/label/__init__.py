"""Stage 4: the network's classes to vertebra and disc instances with level names and a probability for them."""

from spine.label.levels import label_levels

__all__ = ["label_levels"]
