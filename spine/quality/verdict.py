"""The verdict on one case: refused in one sentence, or accepted with a score, flags and doubts.

Refused is what shows no spine that the network can read: by a rule on the image itself (a mask, CT numbers, a picture
too small for two levels), by finding no vertebral body, or by the learnt probability `refuse_below_prob`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from spine.errors import UnusableImage
from spine.quality.answer import MANY_BODIES
from spine.quality.blank import blank_doubts
from spine.quality.central import case_features
from spine.quality.confidence import calibrated_confidence
from spine.quality.image import image_features
from spine.quality.learnt import QualityModel
from spine.quality.motion import motion_doubts
from spine.quality.naming import name_doubts
from spine.quality.order import order_doubts
from spine.quality.orientation import TURNED, Reader, orientation_doubt
from spine.quality.rules import (
    anatomy_doubts,
    anatomy_flags,
    cord_doubts,
    distance_doubts,
    plate_doubts,
    slice_doubts,
)
from spine.quality.seams import seam_doubts
from spine.quality.sizes import scale_doubts, tall_disc_doubts
from spine.quality.spacing import SIZES_IMPLAUSIBLE, size_doubts, slice_spacing_doubts, spacing_doubts
from spine.quality.thresholds import read_thresholds
from spine.quality.withhold import withhold_measurements
from spine.records import Doubt, LabelledSpine, Measurement, Quality, Segmentation, Series, Volume

EXPECTED = "a sagittal MR series of the spine is expected"
OUTDATED = (
    "the models of doubt were learnt on another network than the one that ran: their probabilities are not checked"
)
# Codes that the pages put at their head; words in resources/texts, names.flags.
NO_SIGNAL, IMPLAUSIBLE = "part_without_signal", "outlines_implausible"
# Of a neck that is accepted whatever the learnt probability: our choice, see is_plain_neck.
PLAIN_DISC_SHARE, PLAIN_CANAL_SHARE, PLAIN_SPREAD, PLAIN_NUMBERING_PROB = 0.8, 0.8, 0.2, 0.95
PARTS = {"vertebra": "the vertebrae", "disc": "the discs", "canal": "the spinal canal"}
# What a value outside the range of the sound cases means: feature -> (below, above).
UNUSUAL: dict[str, tuple[str | None, str | None]] = {
    "noise": (None, "the image is noisier"),
    "sharpness": ("the image is more blurred", None),
    "contrast": ("the image has less contrast", None),
    "bias": (None, "the brightness is less even"),
    "void_share": (None, "the image has more signal voids (metal, gas or a fault)"),
    "saturated_share": (None, "more of the image is saturated"),
    "slice_correlation": (
        "neighbouring slices resemble each other less (motion, a wrong order or several series)",
        None,
    ),
    "edge_ratio": ("opposite borders continue each other more (fold-over)", None),
}


def judge_quality(
    series: Series,
    volume: Volume,
    segmentation: Segmentation,
    spine: LabelledSpine,
    model: QualityModel,
    read: Reader | None = None,
) -> Quality:
    """Judge the case of `series`, conformed, segmented and labelled.

    `read` segments and labels a volume once more; without it the orientation of the picture is not tried.

    Raises:
        UnusableImage: no spine was found in the image, or it stands on its head.
    """
    limits = read_thresholds()
    image = image_features(series, volume)
    refuse_other_images(series.slug, image, limits)
    if not spine.vertebrae:
        raise UnusableImage(f"No spine was found in {series.slug}: no vertebral body was recognised; {EXPECTED}.")
    features = case_features(image, volume, segmentation, spine)
    image = {name: features[name] for name in image}
    turned = orientation_doubt(series.slug, features, (volume, segmentation), model, read) if read else None
    spine_prob = model.spine(features)
    if spine_prob < model.limits.refuse_below_prob and not is_plain_neck(features, limits):
        raise UnusableImage(
            f"No spine was found in {series.slug}: what was taken for {len(spine.vertebrae)} vertebrae and "
            f"{len(spine.discs)} discs is a spine with a probability of {spine_prob:.3f} only; {EXPECTED}."
        )
    predicted = {group: predict(features) for group, predict in model.dice.items()}
    flags, doubts = ruled(series, volume, spine, image["noise"])
    return Quality(
        spine_prob=spine_prob,
        image=image,
        predicted_dice=predicted,
        confidence=calibrated_confidence(segmentation, model.confidence),
        flags=(
            *((TURNED,) if turned else ()),
            *flags,
            *(() if model.fits else (OUTDATED,)),
            *image_flags(series.slug, image, limits, model),
            *answer_flags(spine_prob, predicted, model),
            *anatomy_flags(spine, volume, limits),
        ),
        # The first doubt that touches a finding gives its reason: the plainest comes first.
        doubts=(*((turned,) if turned else ()), *doubts, *_dice_doubts(predicted, model)),
    )


def ruled(
    series: Series, volume: Volume, spine: LabelledSpine, noise: float
) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """(flags, doubts) that come from rules alone, whatever was learnt; `noise` as image_features measures it."""
    limits = read_thresholds()
    order_flags, order = order_doubts(series, volume, limits)
    seam_flags, seams = seam_doubts(series, volume, limits)
    moved_flags, moved = motion_doubts(volume, limits)
    blank = blank_doubts(spine, volume, noise, limits)
    broken = anatomy_doubts(spine, volume, limits)
    spacing = [*spacing_doubts(spine, volume, limits), *slice_spacing_doubts(spine, volume, limits)]
    flags = (
        *order_flags,
        *seam_flags,
        *moved_flags,
        *((NO_SIGNAL,) if blank else ()),
        *((IMPLAUSIBLE,) if broken else ()),
        *(doubt.reason for doubt in spacing),
    )
    beside = slice_doubts(spine, volume, limits)
    unproven = (*cord_doubts(spine, limits), *plate_doubts(spine, limits))
    names = name_doubts(spine, distance_doubts(spine, volume, limits))
    return flags, (*order, *seams, *moved, *blank, *broken, *beside, *spacing, *unproven, *names)


def judge_sizes(
    quality: Quality, measurements: Sequence[Measurement], clinical: Mapping[str, Any] | None = None
) -> Quality:
    """`quality` with a doubt about all millimetres where the sizes are those of no usual person, or about single discs.

    `clinical` is the clinical record: stature or sex, if known, move what is usual.
    """
    # A canal whose outline is doubtful says nothing of the spacing, nor does anything else that is withheld.
    trusted = withhold_measurements(measurements, quality.doubts)
    tall = tall_disc_doubts(trusted, read_thresholds())
    if tall:
        quality = replace(
            quality,
            flags=(*quality.flags, *dict.fromkeys(doubt.reason for doubt in tall)),
            doubts=(*quality.doubts, *tall),
        )
    found = implausible_sizes(trusted, clinical)
    if not found:
        return quality
    return replace(quality, flags=(SIZES_IMPLAUSIBLE, *quality.flags), doubts=(*quality.doubts, *found))


def implausible_sizes(
    measurements: Sequence[Measurement], clinical: Mapping[str, Any] | None = None
) -> tuple[Doubt, ...]:
    """Doubts about all millimetres: the lumbar bodies together are too large or small, or many sizes lie far off."""
    limits = read_thresholds()
    return (*scale_doubts(measurements, limits, clinical), *size_doubts(measurements, limits))


def is_plain_neck(features: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether the answer is a whole row of neck bodies, surely named, with a disc in every gap and a canal behind.

    Then it is no reason to refuse that the learnt probability, which knows lumbar patients and synthetic necks, is low:
    wide stacks of healthy volunteers were refused by it. The flag of a low probability stays.
    """
    return (
        features["bodies"] * MANY_BODIES >= limits["neck_bodies_min"]
        and 0.0 < features["pitch_mm"] <= limits["neck_pitch_max_mm"]
        and features["disc_share"] >= PLAIN_DISC_SHARE
        and features["canal_share"] >= PLAIN_CANAL_SHARE
        and features["pitch_spread"] <= PLAIN_SPREAD
        and features["canal_spread"] <= PLAIN_SPREAD
        and features["numbering_prob"] >= PLAIN_NUMBERING_PROB
    )


def case_dice(predicted: Mapping[str, float]) -> float:
    """Predicted Dice of the case: the mean over its structures."""
    return sum(predicted.values()) / len(predicted)


def refuse_other_images(slug: str, image: Mapping[str, float], limits: Mapping[str, float]) -> None:
    """Raise UnusableImage for an image that is no MR series of two levels of a spine whatever the network answers."""
    reason = None
    if image["grey_levels"] < limits["grey_levels_min"]:
        reason = f"the image has {image['grey_levels']:.0f} grey levels only, as a segmentation mask has"
    elif image["below_tissue_share"] > limits["air_share_max"] and _is_hounsfield(image["tissue_level"], limits):
        reason = f"{100 * image['below_tissue_share']:.0f} % of the voxels are -500 or less, as on CT"
    elif image["height_mm"] < limits["height_min_mm"] or image["depth_mm"] < limits["depth_min_mm"]:
        reason = (
            f"the image shows {image['height_mm']:.0f} mm from head to foot and {image['depth_mm']:.0f} mm from front "
            f"to back; at least {limits['height_min_mm']:.0f} and {limits['depth_min_mm']:.0f} mm are needed"
        )
    elif image["median_level"] > limits["median_level_max"] and image["dark_share"] < limits["dark_share_min"]:
        reason = "nearly all of the image is bright and nothing is dark, as on a negative or a radiograph"
    if reason is not None:
        raise UnusableImage(f"No spine was found in {slug}: {reason}; {EXPECTED}.")


def _is_hounsfield(level: float, limits: Mapping[str, float]) -> bool:
    """Whether what is no air lies where tissue lies on the Hounsfield scale, and not merely on a signed one."""
    return limits["tissue_hu_min"] <= level <= limits["tissue_hu_max"]


def image_flags(slug: str, image: Mapping[str, float], limits: Mapping[str, float], model: QualityModel) -> list[str]:
    """What is unusual about the image itself."""
    found = []
    if image["pixel_mm"] > limits["pixel_max_mm"]:
        found.append(f"the samples lie {image['pixel_mm']:.1f} mm apart in the plane of the slices: detail is missing")
    if image["slice_mm"] > limits["slice_max_mm"]:
        found.append(f"the slices lie {image['slice_mm']:.1f} mm apart")
    if image["oblique_deg"] > limits["oblique_max_deg"]:
        found.append(f"the slices are turned by {image['oblique_deg']:.0f} degrees from the sagittal plane")
    for name, (below, above) in UNUSUAL.items():
        low, high = model.ranges[name]
        if below is not None and image[name] < low:
            found.append(f"{below} than in the cases learnt from ({name} {image[name]:.2f}, least {low:.2f})")
        if above is not None and image[name] > high:
            found.append(f"{above} than in the cases learnt from ({name} {image[name]:.2f}, most {high:.2f})")
    return [f"{slug}: {flag}" for flag in found]


def answer_flags(spine_prob: float, predicted: Mapping[str, float], model: QualityModel) -> list[str]:
    """What is unusual about the whole answer."""
    found = []
    if spine_prob < model.limits.flag_below_prob:
        found.append(f"the image is unlike the spines learnt from: probability of a readable spine {spine_prob:.2f}")
    if case_dice(predicted) < model.limits.flag_below_dice:
        found.append(f"the outlines are doubtful: predicted Dice {case_dice(predicted):.2f}")
    return found


def _dice_doubts(predicted: Mapping[str, float], model: QualityModel) -> list[Doubt]:
    limit = model.limits.withhold_below_dice
    return [
        Doubt(
            None, group, f"the outline of {PARTS[group]} is doubtful: predicted Dice {value:.2f} is below {limit:.2f}"
        )
        for group, value in predicted.items()
        if value < limit
    ]
