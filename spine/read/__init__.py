"""Stage 1: /input sockets, or files named by a user -> Study. The only stage that touches what others wrote."""

from spine.read.files import read_files
from spine.read.platform import read_study
from spine.read.prior import read_prior

__all__ = ["read_files", "read_prior", "read_study"]
