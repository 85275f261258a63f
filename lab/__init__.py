"""The lab: synthesis, training, conversion, evaluation and benchmarks. Never shipped in the image."""
