"""Which words a DICOM code may hold: a code string takes any capitals, and so the name of a person typed into it.

Defined terms of DICOM PS3.3 (C.7.6.1.1.2, C.8.3.1) and the words that the large vendors are known to add; others are
dropped. Numbers must be numbers.
"""

from __future__ import annotations

import re

NUMBER = re.compile(r"[0-9.+\-eE\\ ]{1,64}")
NUMBERS = ("_t", "_ms", "_deg", "_mm")  # how the names of numbers end
TERMS: dict[str, frozenset[str]] = {
    "scanning_sequence": frozenset({"SE", "IR", "GR", "EP", "RM"}),
    "scan_options": frozenset(
        {"PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS", "SFS", "IR", "MT", "TR", "WE", "SAT", "SAT1", "SAT2"}
        | {"PFS", "RAMP_IS", "DIXON", "IPAT", "CS", "EDR_GEMS", "FAST_GEMS", "TRF_GEMS", "ACC_GEMS", "FILTERED_GEMS"}
    ),
    "image_type": frozenset(
        {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "LOCALIZER", "AXIAL", "MPR", "PROJECTION", "PROJECTION IMAGE"}
        | {"M", "P", "R", "I", "MAGNITUDE", "PHASE MAP", "SE", "IR", "FFE", "M_SE", "M_IR", "M_FFE", "T1", "T2"}
        | {"ND", "NORM", "DIS2D", "DIS3D", "FM", "FIL", "MFSPLIT", "MOSAIC", "ADD", "MEAN", "MIP", "OTHER", "NONE"}
        | {"COMBINED", "REFORMATTED", "DIXON", "WATER", "FAT", "IN_PHASE", "OUT_PHASE", "DRG", "SUBTRACT", "RESAMPLED"}
    ),
    "view_position": frozenset({"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAT", "LATERAL"}),
    "body_part": frozenset(
        {"CSPINE", "TSPINE", "LSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "SPINE", "NECK", "HEAD", "SKULL"}
        | {"CHEST", "ABDOMEN", "PELVIS", "SACRUM", "COCCYX", "SHOULDER", "CLAVICLE", "RIB", "HIP", "EXTREMITY", "ARM"}
        | {"HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "LEG", "FEMUR", "THIGH", "KNEE", "CALF", "ANKLE"}
        | {"FOOT", "TOE", "HEEL", "JAW", "BREAST", "SSC", "WHOLEBODY"}
    ),
    "photometric": frozenset({"MONOCHROME1", "MONOCHROME2"}),
    "modality": frozenset({"MR", "CT", "CR", "DX", "RG", "RF", "XA", "US", "NM", "PT", "MG", "OT", "SC", "SEG", "SR"}),
}


def known_terms(name: str, value: str) -> str:
    """`value` of the tag `name` without words that it cannot hold; '' where nothing is left."""
    if name.endswith(NUMBERS):
        return value if NUMBER.fullmatch(value) else ""
    allowed = TERMS.get(name)
    if allowed is None:
        return value
    return "\\".join(word.strip() for word in value.split("\\") if word.strip() in allowed)
