"""Training: public data sets and synthetic spines to a network (needs torch)."""
