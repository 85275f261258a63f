"""Stage 6: grades."""
from spine.grade.inputs import prepare_levels

__all__ = ["prepare_levels"]
