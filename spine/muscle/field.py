"""The receiving coil's field over an axial slice, with the signals of lean muscle and of fat under it.

The coil lies behind the back, so a dark psoas in front and a back full of fat can make the same picture: which pixels
are lean has to be found along with the field. The logarithm of the signal is a smooth polynomial plus the level of lean
muscle or of fat, of pixels between the two, or, in the strip behind the muscles, of the fat under the skin (expectation
and maximisation after Wells 1996, doi 10.1109/42.511747). It starts from many contrasts and slopes; where two answers
are about as good and tell different fat, none is told.

Developed on synthetic stacks with the true outlines, of a family that no figure is reported of.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from spine.geometry import MAD_TO_SD, Array
from spine.muscle.conform import Plane

Mask = NDArray[np.bool_]

TERMS = ((1, 0), (2, 0), (0, 1), (1, 1), (0, 2))  # powers of down and across
# Standard deviation of each term in the logarithm: from front to back the field changes most; from side to side it
# would take one muscle's fat for brightness.
TERM_SDS = (0.7, 0.4, 0.15, 0.15, 0.15)
# Logarithm of how many times fat is as bright as muscle: two to five on T1 and T2 spin echo.
RATIO_MEAN, RATIO_SD, RATIO_MIN = 1.1, 0.35, 0.3
FAT_IN_MUSCLE = float(np.log(0.9))  # a streak is seldom wider than a pixel: darker than the fat under the skin
# Neighbouring pixels tell the same: a slice counts as so many that are independent.
INDEPENDENT = 150.0
# Counted beforehand in front of the back muscles, as lean, fat and between: the healthy psoas has 5 to 7 % of fat
# (PMC7063279), far less than the back.
FRONT_BEFORE = np.array([10.0, 0.5, 1.7])
SHARE_MIN = 0.005
START_RATIOS, START_SLOPES = (0.5, 0.9, 1.3, 1.7), (-0.5, 0.0, 0.5, 1.0)
START_SPREADS = (0.25, 0.2, 0.2)  # of lean muscle, of fat inside muscle, of fat under the skin
SPREAD_LIMITS = ((0.08, 0.35), (0.08, 0.2), (0.05, 0.25))
START_SHARES = ((0.5, 0.25, 0.25), (0.8, 0.05, 0.15))  # lean, fat, between: of the back, of what lies in front
START_PIXELS, START_ROUNDS = 1000, 20
PIXELS, ROUNDS = 4000, 15  # of the last fit: more tell the same
OUTLIER = 0.05  # density of anything else: vessels, skin and fascia
SIGNAL_MIN = 0.02  # scaled intensity; noise alone lies below
# An answer whose log posterior is no farther below the best is a rival, if it tells so much more or less fat.
RIVAL_SCORE, RIVAL_FAT = 6.0, 0.15
UNDECIDED = (
    "a brighter coil and more fat explain this slice about equally well, so that fat cannot be told from muscle on it"
)


@dataclass(frozen=True)
class Field:
    """The field of one slice. Intensities divided by `factor` are comparable over the slice."""

    factor: Plane  # (down, across), 1 on average inside the muscles
    lean: float  # signal of lean muscle, of `grey / factor`
    fat: float  # ... and of fat under the skin
    spread: float  # standard deviation, the larger of both


@dataclass(frozen=True)
class _Pixels:
    """Pixels that take part, one column each."""

    basis: Array  # (term, n)
    value: Array  # (n,) logarithm of the signal
    skin: Mask  # (n,) fat under the skin
    front: Mask  # (n,) muscle in front of the back muscles

    def thinned(self, count: int) -> _Pixels:
        step = slice(None, None, max(1, len(self.value) // count))
        return _Pixels(self.basis[:, step], self.value[step], self.skin[step], self.front[step])


@dataclass(frozen=True)
class _Fits:
    """Several answers at once."""

    terms: Array  # (fit, term)
    lean: Array  # (fit,) logarithms
    fat: Array
    spread: Array  # (fit, 3) of lean muscle, fat inside muscle, fat under the skin
    shares: Array  # (fit, 2, 3) of the back and of the front: lean, fat, between
    score: Array  # (fit,) log posterior of the state before

    def take(self, index: NDArray[np.intp]) -> _Fits:
        return _Fits(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def fit_field(grey: Plane, muscles: Mask, back: Mask, skin: Mask) -> Field | str:
    """Field and levels of a slice, or why they cannot be told.

    Args:
        grey: (down, across) intensities, fat brighter than muscle.
        muscles: every muscle that was outlined, with signal.
        back: the outlined muscles of the back.
        skin: fat under the skin, outside the muscles; not empty.
    """
    both = muscles | skin
    basis = _polynomials(grey.shape, muscles)
    value = np.log(np.maximum(grey[both], SIGNAL_MIN)).astype(np.float64)
    is_skin = skin[both]
    pixels = _Pixels(basis[:, both], value, is_skin, (muscles & ~back)[both])
    few, more = pixels.thinned(START_PIXELS), pixels.thinned(PIXELS)
    if not (few.skin.any() and (~few.skin).any()):
        few = more = pixels
    tried = _improved(_started(few), few, START_ROUNDS)
    best = int(np.argmax(tried.score))
    if _rivalled(tried, best, few):
        return UNDECIDED
    fit = _improved(tried.take(np.array([best])), more, ROUNDS)
    factor = np.exp(np.tensordot(fit.terms[0], basis, 1))
    mean = float(factor[muscles].mean())
    lean, fat = (float(np.exp(level[0])) * mean for level in (fit.lean, fit.fat))
    spread = max(lean * float(fit.spread[0, 0]), fat * float(fit.spread[0, 2]))
    return Field(np.asarray(factor / mean, np.float32), lean, fat, spread)


def _started(pixels: _Pixels) -> _Fits:
    starts = np.array(list(product(START_RATIOS, START_SLOPES)))
    count = len(starts)
    terms = np.zeros((count, len(TERMS)))
    terms[:, 0] = starts[:, 1]
    fat = np.median((pixels.value - terms @ pixels.basis)[:, pixels.skin], axis=1)
    return _Fits(
        terms=terms,
        lean=fat - starts[:, 0],
        fat=fat,
        spread=np.tile(START_SPREADS, (count, 1)),
        shares=np.tile(START_SHARES, (count, 1, 1)),
        score=np.full(count, -np.inf),
    )


def _improved(fits: _Fits, pixels: _Pixels, rounds: int) -> _Fits:
    """`fits` after so many rounds of expectation and maximisation."""
    for _ in range(rounds):
        belongs, score = _expected(fits, pixels)
        fits = _maximised(fits, pixels, belongs, score)
    return fits


def _expected(fits: _Fits, pixels: _Pixels) -> tuple[Array, Array]:
    """Posterior (kind, fit, n) of lean, fat, between, and of the skin's fat; the log posterior (fit,) of the whole."""
    level = pixels.value - fits.terms @ pixels.basis
    gap = np.maximum(fits.fat - fits.lean, RATIO_MIN)[:, None]
    between = (level > fits.lean[:, None]) & (level < fits.fat[:, None])
    density = np.stack(
        [
            _normal(level - fits.lean[:, None], fits.spread[:, :1]),
            _normal(level - fits.fat[:, None] - FAT_IN_MUSCLE, fits.spread[:, 1:2]),
            np.where(between, 1 / gap, OUTLIER),
        ]
    )
    shares = fits.shares[:, pixels.front.astype(np.intp)].transpose(2, 0, 1)
    density *= shares
    total = density.sum(0) + 1e-12
    skin = _normal(level[:, pixels.skin] - fits.fat[:, None], fits.spread[:, 2:]) + OUTLIER
    likely = np.log(total[:, ~pixels.skin]).sum(1) + np.log(skin).sum(1)
    believed = (
        -0.5 * np.square(fits.terms / TERM_SDS).sum(1)
        - 0.5 * np.square((fits.fat - fits.lean - RATIO_MEAN) / RATIO_SD)
        + np.log(fits.shares[:, 1]) @ FRONT_BEFORE
    )
    belongs = np.zeros((4, *level.shape))
    belongs[:3, :, ~pixels.skin] = (density / total)[:, :, ~pixels.skin]
    belongs[3, :, pixels.skin] = (1 - OUTLIER / skin).T
    return belongs, likely * INDEPENDENT / len(pixels.value) + believed


def _maximised(fits: _Fits, pixels: _Pixels, belongs: Array, score: Array) -> _Fits:
    """The terms and levels by least squares, then shares and spreads."""
    temper = INDEPENDENT / len(pixels.value)
    precision = temper / np.square(fits.spread)
    lean = belongs[0] * precision[:, :1]
    inside = belongs[1] * precision[:, 1:2]
    fat = inside + belongs[3] * precision[:, 2:]
    terms, low, high = _solved(
        pixels, lean, fat, inside.sum(1) * FAT_IN_MUSCLE, (inside * FAT_IN_MUSCLE) @ pixels.basis.T
    )
    low = np.minimum(low, high - RATIO_MIN)
    level = pixels.value - terms @ pixels.basis
    counted = np.stack([belongs[:3, :, part].sum(2).T for part in (~pixels.front, pixels.front)], axis=1) * temper
    counted[:, 1] += FRONT_BEFORE
    shares = np.maximum((counted + 0.05) / (counted + 0.05).sum(2, keepdims=True), SHARE_MIN)
    off = np.stack([level - low[:, None], level - high[:, None] - FAT_IN_MUSCLE])
    squared = (belongs[:2] * np.square(off)).sum(2) / np.maximum(belongs[:2].sum(2), 1.0)
    skin = MAD_TO_SD * np.median(np.abs(level[:, pixels.skin] - high[:, None]), axis=1)
    spread = np.clip(np.column_stack([*np.sqrt(squared), skin]), *np.transpose(SPREAD_LIMITS))
    return _Fits(terms, low, high, spread, shares, score)


def _solved(pixels: _Pixels, lean: Array, fat: Array, shift: Array, shifted: Array) -> tuple[Array, Array, Array]:
    """Terms (fit, term) and both levels (fit,) from the weights (fit, n), held by what is known beforehand.

    `shift` and `shifted` take off what fat inside muscle is darker by.
    """
    basis, value = pixels.basis, pixels.value
    count = len(basis)
    both = lean + fat
    matrix = np.zeros((len(lean), count + 2, count + 2))
    matrix[:, :count, :count] = (both[:, None] * basis) @ basis.T
    matrix[:, range(count), range(count)] += 1 / np.square(TERM_SDS)
    for at, weight in ((count, lean), (count + 1, fat)):
        matrix[:, :count, at] = matrix[:, at, :count] = weight @ basis.T
        matrix[:, at, at] = weight.sum(1) + 1 / RATIO_SD**2
    matrix[:, count, count + 1] = matrix[:, count + 1, count] = -1 / RATIO_SD**2
    right = np.column_stack(
        [
            (both * value) @ basis.T - shifted,
            (lean * value).sum(1) - RATIO_MEAN / RATIO_SD**2,
            (fat * value).sum(1) - shift + RATIO_MEAN / RATIO_SD**2,
        ]
    )
    found = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return found[:, :count], found[:, count], found[:, count + 1]


def _rivalled(fits: _Fits, best: int, pixels: _Pixels) -> bool:
    """Whether an answer about as good as the best tells another share of fat, of the back or of the front."""
    signal = np.exp(pixels.value - fits.terms @ pixels.basis)
    low, high = np.exp(fits.lean)[:, None], np.exp(fits.fat)[:, None]
    fat = np.clip((signal - low) / (high - low), 0.0, 1.0)
    near = fits.score > fits.score[best] - RIVAL_SCORE
    for part in (pixels.front, ~pixels.front & ~pixels.skin):
        if part.any():
            shares = fat[:, part].mean(1)
            if np.abs(shares[near] - shares[best]).max() > RIVAL_FAT:
                return True
    return False


def _normal(off: Array, spread: Array) -> Array:
    """Densities of normal distributions at `off` from their means."""
    return np.asarray(np.exp(-0.5 * np.square(off / spread)) / (np.sqrt(2 * np.pi) * spread))


def _polynomials(shape: tuple[int, ...], where: Mask) -> Array:
    """(term, down, across) monomials without the constant, over the extent of `where` scaled to about -1..1."""
    rows, columns = np.nonzero(where)
    scale = max(float(np.ptp(columns)), 1.0) / 2
    down = (np.arange(shape[0])[:, None] - rows.mean()) / scale
    across = (np.arange(shape[1])[None] - columns.mean()) / scale
    limit = 1.5  # beyond the muscles and the skin behind them the field is not asked for and must not run away
    down, across = np.clip(down, -limit, limit), np.clip(across, -limit, limit)
    return np.stack([down**n * across**m for n, m in TERMS])
