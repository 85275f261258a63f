"""Stage 1: /input sockets, or files named by a user -> Study. The only stage that touches what others wrote."""

from spine.read.files import read_files
from spine.read.platform import read_study

__all__ = ["read_files", "read_study"]
