"""Speed and memory of the whole path."""
