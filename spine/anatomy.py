"""Facts: structures, level names, label numbers and neighbours. The only file that holds label numbers."""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """Classes of the segmentation network, in the order of its output channels."""

    BACKGROUND = 0
    BODY = 1  # vertebral bodies C3..L5 (and L6, T13)
    POSTERIOR = 2  # pedicles, laminae, facets, spinous and transverse processes of C2..L5
    DISC = 3  # C2/3..L5/S1; rudimentary sacral discs belong to SACRUM
    CANAL = 4  # dural sac without the cord, as SPIDER draws its spinal canal; epidural fat is background
    CORD = 5  # spinal cord, to the tip of the conus
    S1 = 6  # body of the first sacral segment
    SACRUM = 7  # rest of the sacrum: S2..S5, lateral mass, posterior crest, rudimentary discs
    C2 = 8  # body of the axis with the dens
    C1 = 9  # anterior and posterior arch and lateral masses of the atlas


STRUCTURES: tuple[Structure, ...] = tuple(Structure)


class AxialStructure(IntEnum):
    """Classes of the axial network, in the order of its output channels. Sides are told by geometry."""

    BACKGROUND = 0
    MULTIFIDUS = 1  # the fascia's whole compartment, fat between its fascicles included
    ERECTOR_SPINAE = 2  # longissimus and iliocostalis, the fat in their compartment included
    PSOAS = 3  # psoas major
    QUADRATUS_LUMBORUM = 4
    BODY = 5  # vertebral body or disc, whichever the slice meets; of the sacrum too
    SAC = 6  # dural sac with roots and cord


# Vertebra names by label, lowest first: 1 = L5 ... 24 = C1 (SPIDER's numbers, extended upward).
VERTEBRA_NAMES: tuple[str, ...] = (
    *(f"L{i}" for i in range(5, 0, -1)),
    *(f"T{i}" for i in range(12, 0, -1)),
    *(f"C{i}" for i in range(7, 0, -1)),
)
FIRST_VERTEBRA, LAST_VERTEBRA = 1, 24  # L5, C1
C2_LABEL, C7_LABEL, T1_LABEL, T12_LABEL, L1_LABEL = 23, 18, 17, 6, 5

CANAL_LABEL = 100
PARTIAL_OFFSET = 100  # 101..124: vertebra k of which only a part lies in the image
DISC_OFFSET = 200  # 200 + k: disc below vertebra k
LAST_DISC = 223  # C2/C3: there is no disc between C1 and C2


def vertebra_name(label: int) -> str:
    """Name of vertebra `label` (1..24): 1 -> 'L5', 24 -> 'C1'."""
    if not FIRST_VERTEBRA <= label <= LAST_VERTEBRA:
        raise ValueError(f"vertebra label {label} is outside {FIRST_VERTEBRA}..{LAST_VERTEBRA}")
    return VERTEBRA_NAMES[label - 1]


def vertebra_label(name: str) -> int:
    """Label of the vertebra `name`: 'L5' -> 1."""
    return VERTEBRA_NAMES.index(name) + 1


def disc_level(label: int) -> str:
    """Motion segment of disc `label` (201..223): 201 -> 'L5/S1', 218 -> 'C7/T1'."""
    upper = label - DISC_OFFSET
    lower = "S1" if upper == FIRST_VERTEBRA else vertebra_name(upper - 1)
    return f"{vertebra_name(upper)}/{lower}"


DISC_LEVELS: tuple[str, ...] = tuple(disc_level(DISC_OFFSET + k) for k in range(1, LAST_VERTEBRA))


def disc_label(level: str) -> int:
    """Label of the disc of motion segment `level`: 'L5/S1' -> 201."""
    return DISC_OFFSET + 1 + DISC_LEVELS.index(level)


def region_of(label: int) -> str:
    """Spinal region of vertebra `label`: 'lumbar', 'thoracic' or 'cervical'."""
    return {"L": "lumbar", "T": "thoracic", "C": "cervical"}[vertebra_name(label)[0]]
