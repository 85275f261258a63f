"""Degenerative spine disease on MRI: read, segment, label, measure, grade, fuse, report, write. Research use only."""

__version__ = "0.1.0"
