"""Stage 8: everything that was found -> Report: JSON documents, the page for physician and patient, the summary."""

from spine.report.compose import compose_report
from spine.report.summary import summary_lines

__all__ = ["compose_report", "summary_lines"]
