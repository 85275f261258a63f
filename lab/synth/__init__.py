"""Synthetic spines with known truth: plan (parameters), phantom (tissues on a grid), render (MR), cohort (many)."""
