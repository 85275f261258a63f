"""Muscle: area, fat and symmetry of the paraspinal muscles from an axial T2 series."""
