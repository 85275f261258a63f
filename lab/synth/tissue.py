"""Facts: fine tissue codes of the phantom, the network class of each and its MR properties.

Class convention, after SPIDER's masks (their outermost ring of pixels has 0.7 of the marrow's signal, the next one
outside 0.4): a vertebra is marrow with the inner part of its cortical shell; the dark rest of the shell, the cartilage
of the end plate and the ligaments are nobody's; the disc takes its herniated part along; the canal is the dural sac
(epidural fat is background); the sac ends near S2.
"""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from spine.anatomy import Structure


class Tissue(IntEnum):
    """Codes of `Phantom.tissues`."""

    AIR = 0
    SKIN = auto()
    SUBCUTANEOUS_FAT = auto()
    FASCIA = auto()
    MUSCLE = auto()
    MUSCLE_DEEP = auto()
    MUSCLE_FAT = auto()
    PSOAS = auto()
    VISCERAL_FAT = auto()
    BOWEL_WALL = auto()
    BOWEL_CONTENT = auto()
    BOWEL_FLUID = auto()
    FLOWING_BLOOD = auto()
    SLOW_BLOOD = auto()
    KIDNEY = auto()
    LIVER = auto()
    LUNG = auto()
    HEART = auto()
    OESOPHAGUS = auto()
    GLAND = auto()
    MUCOSA = auto()
    BRAIN = auto()
    CISTERN = auto()  # fluid inside the skull
    SKULL = auto()
    BONE_MARROW = auto()  # ribs, coccyx, pelvis, mandible: bone that is background
    LIGAMENT = auto()
    EPIDURAL_FAT = auto()
    EPIDURAL_VEIN = auto()
    FLAVUM = auto()
    FACET_FLUID = auto()
    END_PLATE = auto()
    METAL = auto()
    CSF = auto()
    ROOTS = auto()
    CORD = auto()
    CORD_GREY = auto()
    MYELOPATHY = auto()
    MARROW_A = auto()
    MARROW_B = auto()
    MARROW_C = auto()
    MARROW_D = auto()
    CORTEX = auto()
    BASIVERTEBRAL = auto()
    HAEMANGIOMA = auto()
    OEDEMA = auto()  # Modic 1 or fresh fracture
    FATTY_MARROW = auto()  # Modic 2
    SCLEROSIS = auto()  # Modic 3
    SCHMORL = auto()  # disc material inside the body
    ARCH_MARROW = auto()
    ARCH_CORTEX = auto()
    S1_MARROW = auto()
    S1_CORTEX = auto()
    S1_OEDEMA = auto()
    S1_FATTY = auto()
    S1_SCLEROSIS = auto()
    SACRUM_MARROW = auto()
    SACRUM_CORTEX = auto()
    SACRUM_DISC = auto()
    C2_MARROW = auto()
    C2_CORTEX = auto()
    C1_MARROW = auto()
    C1_CORTEX = auto()
    ANNULUS_OUTER = auto()
    ANNULUS_INNER = auto()
    NUCLEUS_1 = auto()
    NUCLEUS_2 = auto()
    NUCLEUS_3 = auto()
    NUCLEUS_4 = auto()
    NUCLEUS_5 = auto()
    CLEFT = auto()
    VACUUM = auto()
    FISSURE = auto()
    HERNIATION = auto()
    # Codes are stored in banks: add new ones at the end.
    NERVE = auto()  # root ganglion and nerve outside the sac
    INTERSPINOUS = auto()
    SEPTUM = auto()  # fibrous septa of the subcutaneous fat
    TOOTH = auto()
    BONE_RIM = auto()  # outer part of the cortical shell, which masks leave out


_BODY = "MARROW_A MARROW_B MARROW_C MARROW_D CORTEX BASIVERTEBRAL HAEMANGIOMA OEDEMA FATTY_MARROW SCLEROSIS SCHMORL"
_DISC = "ANNULUS_OUTER ANNULUS_INNER NUCLEUS_1 NUCLEUS_2 NUCLEUS_3 NUCLEUS_4 NUCLEUS_5 CLEFT VACUUM FISSURE HERNIATION"
CLASSES: dict[Structure, str] = {
    Structure.BODY: _BODY,
    Structure.POSTERIOR: "ARCH_MARROW ARCH_CORTEX",
    Structure.DISC: _DISC,
    Structure.CANAL: "CSF ROOTS",
    Structure.CORD: "CORD CORD_GREY MYELOPATHY",
    Structure.S1: "S1_MARROW S1_CORTEX S1_OEDEMA S1_FATTY S1_SCLEROSIS",
    Structure.SACRUM: "SACRUM_MARROW SACRUM_CORTEX SACRUM_DISC",
    Structure.C2: "C2_MARROW C2_CORTEX",
    Structure.C1: "C1_MARROW C1_CORTEX",
}


def _structure_table() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for structure, names in CLASSES.items():
        for name in names.split():
            table[Tissue[name]] = structure
    return table


# (256,) uint8: tissue code -> value of spine.anatomy.Structure
STRUCTURE_OF_TISSUE: NDArray[np.uint8] = _structure_table()

# Tissue -> (proton density of the water part, T1 ms, T2 ms of the water part, fat fraction, granularity of texture).
# About 1.5 T; values rounded from de Bazelaire 2004 (10.1148/radiol.2303021331), Stanisz 2005 (10.1002/mrm.20605)
# and, for discs, the T2 ranges of Marinelli 2009 (10.1007/s00586-009-1068-1); they are drawn with a spread anyway.
PROPERTIES: dict[Tissue, tuple[float, float, float, float, float]] = {
    Tissue.AIR: (0.0, 1000, 50, 0.0, 0.0),
    Tissue.SKIN: (0.55, 700, 35, 0.15, 0.05),
    Tissue.SUBCUTANEOUS_FAT: (0.7, 900, 40, 0.97, 0.05),
    Tissue.FASCIA: (0.25, 900, 22, 0.1, 0.1),
    Tissue.MUSCLE: (0.76, 1000, 36, 0.05, 0.16),
    Tissue.MUSCLE_DEEP: (0.76, 1000, 37, 0.1, 0.22),
    Tissue.MUSCLE_FAT: (0.75, 900, 40, 0.75, 0.15),
    Tissue.PSOAS: (0.78, 1000, 40, 0.03, 0.08),
    Tissue.VISCERAL_FAT: (0.7, 900, 40, 0.92, 0.12),
    Tissue.BOWEL_WALL: (0.75, 950, 55, 0.02, 0.15),
    Tissue.BOWEL_CONTENT: (0.7, 700, 60, 0.05, 0.3),
    Tissue.BOWEL_FLUID: (0.95, 2200, 250, 0.0, 0.15),
    Tissue.FLOWING_BLOOD: (0.1, 1400, 60, 0.0, 0.3),
    Tissue.SLOW_BLOOD: (0.6, 1400, 110, 0.0, 0.25),
    Tissue.KIDNEY: (0.85, 1000, 90, 0.02, 0.1),
    Tissue.LIVER: (0.75, 600, 48, 0.05, 0.06),
    Tissue.LUNG: (0.1, 1200, 40, 0.0, 0.4),
    Tissue.HEART: (0.5, 1100, 60, 0.0, 0.3),
    Tissue.OESOPHAGUS: (0.75, 950, 55, 0.05, 0.12),
    Tissue.GLAND: (0.8, 750, 70, 0.15, 0.15),
    Tissue.MUCOSA: (0.85, 1000, 95, 0.05, 0.15),
    Tissue.BRAIN: (0.75, 900, 88, 0.0, 0.05),
    Tissue.CISTERN: (1.0, 3600, 1200, 0.0, 0.04),
    Tissue.SKULL: (0.1, 900, 20, 0.08, 0.3),
    Tissue.BONE_MARROW: (0.6, 850, 48, 0.5, 0.12),
    Tissue.LIGAMENT: (0.22, 900, 18, 0.04, 0.1),
    Tissue.EPIDURAL_FAT: (0.7, 900, 40, 0.93, 0.05),
    Tissue.EPIDURAL_VEIN: (0.85, 1300, 130, 0.15, 0.1),
    Tissue.FLAVUM: (0.5, 900, 33, 0.06, 0.1),
    Tissue.FACET_FLUID: (0.9, 1800, 200, 0.0, 0.1),
    Tissue.END_PLATE: (0.16, 900, 20, 0.02, 0.1),
    Tissue.METAL: (0.0, 1000, 20, 0.0, 0.0),
    Tissue.CSF: (1.0, 3600, 1200, 0.0, 0.08),
    Tissue.ROOTS: (0.82, 1200, 95, 0.0, 0.08),
    Tissue.CORD: (0.74, 900, 75, 0.0, 0.04),
    Tissue.CORD_GREY: (0.8, 950, 84, 0.0, 0.04),
    Tissue.MYELOPATHY: (0.86, 1250, 130, 0.0, 0.05),
    Tissue.MARROW_A: (0.55, 900, 45, 0.36, 0.15),
    Tissue.MARROW_B: (0.55, 900, 45, 0.39, 0.16),
    Tissue.MARROW_C: (0.55, 900, 46, 0.42, 0.18),
    Tissue.MARROW_D: (0.55, 900, 46, 0.46, 0.22),
    Tissue.CORTEX: (0.12, 900, 22, 0.03, 0.1),
    Tissue.BASIVERTEBRAL: (0.8, 1300, 110, 0.25, 0.15),
    Tissue.HAEMANGIOMA: (0.75, 900, 110, 0.65, 0.12),
    Tissue.OEDEMA: (0.78, 1150, 85, 0.12, 0.15),
    Tissue.FATTY_MARROW: (0.5, 900, 48, 0.75, 0.12),
    Tissue.SCLEROSIS: (0.25, 900, 32, 0.1, 0.15),
    Tissue.SCHMORL: (0.55, 1100, 55, 0.03, 0.12),
    Tissue.ARCH_MARROW: (0.52, 900, 45, 0.48, 0.14),
    Tissue.ARCH_CORTEX: (0.12, 900, 22, 0.03, 0.1),
    Tissue.S1_MARROW: (0.55, 900, 45, 0.42, 0.16),
    Tissue.S1_CORTEX: (0.12, 900, 22, 0.03, 0.1),
    Tissue.S1_OEDEMA: (0.78, 1150, 85, 0.12, 0.15),
    Tissue.S1_FATTY: (0.5, 900, 48, 0.75, 0.12),
    Tissue.S1_SCLEROSIS: (0.25, 900, 32, 0.1, 0.15),
    Tissue.SACRUM_MARROW: (0.54, 900, 45, 0.45, 0.12),
    Tissue.SACRUM_CORTEX: (0.14, 900, 22, 0.04, 0.1),
    Tissue.SACRUM_DISC: (0.4, 1000, 45, 0.03, 0.15),
    Tissue.C2_MARROW: (0.53, 900, 44, 0.4, 0.1),
    Tissue.C2_CORTEX: (0.12, 900, 22, 0.03, 0.1),
    Tissue.C1_MARROW: (0.53, 900, 44, 0.45, 0.12),
    Tissue.C1_CORTEX: (0.12, 900, 22, 0.03, 0.1),
    Tissue.ANNULUS_OUTER: (0.22, 900, 20, 0.01, 0.1),
    Tissue.ANNULUS_INNER: (0.45, 1000, 38, 0.01, 0.1),
    Tissue.NUCLEUS_1: (0.92, 1450, 115, 0.0, 0.05),
    Tissue.NUCLEUS_2: (0.85, 1300, 88, 0.0, 0.1),
    Tissue.NUCLEUS_3: (0.68, 1150, 58, 0.0, 0.12),
    Tissue.NUCLEUS_4: (0.5, 1050, 40, 0.0, 0.12),
    Tissue.NUCLEUS_5: (0.36, 1000, 29, 0.0, 0.15),
    Tissue.CLEFT: (0.5, 1100, 42, 0.0, 0.1),
    Tissue.VACUUM: (0.03, 1000, 20, 0.0, 0.1),
    Tissue.FISSURE: (0.9, 1500, 150, 0.0, 0.1),
    Tissue.HERNIATION: (0.55, 1050, 46, 0.0, 0.12),
    Tissue.NERVE: (0.75, 1000, 60, 0.05, 0.08),
    Tissue.INTERSPINOUS: (0.5, 950, 32, 0.3, 0.3),
    Tissue.SEPTUM: (0.4, 900, 28, 0.55, 0.1),
    Tissue.TOOTH: (0.02, 900, 10, 0.0, 0.0),
    Tissue.BONE_RIM: (0.13, 900, 22, 0.04, 0.1),
}
