"""Speed and memory of the whole path: `python -m lab.benchmark`."""
