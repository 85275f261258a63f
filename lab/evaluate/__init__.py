"""Evaluation against references; runs at a partner hospital without torch."""
