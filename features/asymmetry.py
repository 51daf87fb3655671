"""Cues that tell pre-focal from post-focal: what differs between the two sides of focus.

A symmetric blur carries no sign. Three things in a real microscope do; positive score means that the lens is too far,
so that the plane being imaged lies on the objective's side of the cell.

* *Phase.* A cell has a higher index than its surroundings and acts as a weak converging lens: in the planes beyond it
  (positive score) its inside, and every dense grain in it, brightens at the cost of its surroundings; before it, it
  darkens. To first order ``dI/dz ~ -lap(phase)`` (transport of intensity, Teague 1983), and phase follows density.
* *Phase against absorption.* Stain absorbs much of one colour and little of another, while phase is common to all.
  Where absorption is weak, as a purple nucleus' is in blue, phase shows nearly pure: at positive score it weakens and
  then reverses that channel's detail against the strongly absorbed channel's, at negative score it strengthens it.
* *Axial colour.* The channels focus at different planes. In an under-corrected objective blue's defocus exceeds green's
  and red's falls short: at positive score red is the sharper, at negative score blue. An over-corrected objective has
  the opposite sign, so that these cues need training on the instrument's own images.

Each cue says which way it moves from its in-focus value at positive score; at negative score it moves the other way.
Cues that compare channels are exactly 0 for grey input. Half and quarter scale stand for detail of about 4 and 8
pixels.
"""

import math
from functools import partial
from itertools import product

from focus_picker.features.feature import LOG, Family
from focus_picker.features.intermediates import BLUE, GREEN, RED, Intermediates
from focus_picker.features.kernels import LEAST_RMS, log_ratio, mean_product

COLOUR_FLOOR = 2e-3  # grey levels squared per band and channel: below what a camera's noise leaves there
COLOURS = ("red", "green", "blue", "grey")  # rows of a profile; the first three are an image's channels
GREY = 3

STEPS = {"inner_rim": 1, "inner_edge": 2, "edge": 3, "outer_edge": 4, "outer_rim": 5, "halo": 6}
"""Steps of a boundary's profile from one ring to the next outwards, by the inner ring's index."""

TEAGUE = "after Teague 1983"  # transport of intensity

RING_PITCH_PX = 2  # rings of the nucleus are one pixel of the half scale wide
LEAST_RISE = 0.05  # of the contrast between background and nucleus


# Third-order statistics of one image: transport of intensity

TRANSPORT = Family("transport of intensity")


@TRANSPORT.declare("Are the finest grains dark or bright?", sign=-1, source=TEAGUE)
def laplacian_skewness(image: Intermediates) -> float:
    """Skewness of the Laplacian at full scale: dark grains curve up (positive), bright ones down.

    Falls at positive score, where dense grains gain a bright core. Reverses again more than half a depth of field off.
    """
    if image.laplacian_energy < LEAST_RMS**2:
        return 0.0
    return mean_product(image.laplacian_squared, image.laplacian) / image.laplacian_energy**1.5


def half_scale(image: Intermediates, moment: str) -> float:
    """Third-order statistic of grey and its Laplacian at half scale, see :func:`features.kernels.signed_moments`.

    ``intensity_skewness`` rises at positive score: the darkest parts, being the densest, brighten most.
    ``laplacian_skewness`` falls: dense detail, a dark dip in focus, gains a bright core.
    ``transport`` falls: levels far from the mean are those of dense parts, and there the curvature turns negative; it
    shows where phase is strong.
    ``detail_side`` rises: detail is strong on the dark side before focus and on the bright side beyond.
    """
    return image.half_moments[moment]


def quarter_scale(image: Intermediates, moment: str) -> float:
    """The same at quarter scale: seen farther from focus, where half scale has lost its detail."""
    return image.quarter_moments[moment]


for _name, _compute, _label, _sign in (
    ("half_intensity_skewness", half_scale, "Are the rarest levels dark or bright, at half scale?", 1),
    ("half_laplacian_skewness", half_scale, "Are the grains dark or bright, at half scale?", -1),
    ("half_transport", half_scale, "Do dark parts curve up or down, at half scale?", -1),
    ("half_detail_side", half_scale, "Is detail on the dark or the bright side, at half scale?", 1),
    ("quarter_detail_side", quarter_scale, "Is detail on the dark or the bright side, at quarter scale?", 1),
):
    TRANSPORT.add(_name, partial(_compute, moment=_name.partition("_")[2]), _label, _sign, source=TEAGUE)


# Rims: the mean level at each distance from a boundary

NUCLEUS, CELL = Family("rims of the nucleus"), Family("rims of the cell")


def nucleus_step(image: Intermediates, channel: int, step: int) -> float:
    """Change of level from one ring about the nucleus' boundary to the next outwards, at half scale.

    In units of the contrast between background and nucleus; 0 for an image without such contrast. At positive score
    refraction takes light from outside the boundary (dark fringe) and lays it inside (bright fringe): the inner rim and
    the halo rise, the steps at the edge itself fall. In blue, which the nucleus absorbs least and which is out of focus
    first, the fringes are broader: there the outer edge and rim rise, and with axial colour the inner rim falls.
    """
    profile = image.nucleus_profile[channel]
    return profile[step + 1] - profile[step]


for _channel, _signs in {
    GREY: {"inner_rim": 1, "outer_edge": -1, "halo": 1},
    RED: {"inner_rim": 1, "outer_edge": -1},
    BLUE: {"inner_rim": -1, "inner_edge": -1, "edge": -1, "outer_edge": 1, "outer_rim": 1},
}.items():
    for _step, _sign in _signs.items():
        _name = f"nucleus_{_step}_{COLOURS[_channel]}".removesuffix("_grey")
        _label = f"Brightness step at the nucleus' {_step.replace('_', ' ')}, in {COLOURS[_channel]}"
        NUCLEUS.add(_name, partial(nucleus_step, channel=_channel, step=STEPS[_step]), _label, _sign, source=TEAGUE)


def cell_step(image: Intermediates, step: int) -> float:
    """The same in grey about the boundary of everything darker than the background: cytoplasm, and red cells about it.

    At quarter scale: these boundaries are softer and longer. All steps rise at positive score.
    """
    return image.cell_profile[step + 1] - image.cell_profile[step]


for _step in ("inner_rim", "outer_edge", "outer_rim"):
    _label = f"Brightness step at the cell's {_step.replace('_', ' ')}"
    CELL.add(f"cell_{_step}", partial(cell_step, step=STEPS[_step]), _label, sign=1, source=TEAGUE)


@NUCLEUS.declare("How far the nucleus' edge in red lies outside that in blue", sign=-1, unit="pixels")
def red_blue_shift(image: Intermediates) -> float:
    """Pixels by which the nucleus' edge lies farther out in red than in blue.

    The edge is the mean place of the profile's rise. Falls at positive score, where blue's brighter fringe inside and
    darker one outside move its edge outwards; 0 where a channel shows no edge.
    """
    if not image.is_colour:
        return 0.0
    red, _, blue, _ = image.nucleus_profile
    return _edge_place(red) - _edge_place(blue) if min(red[-1] - red[0], blue[-1] - blue[0]) > LEAST_RISE else 0.0


def _edge_place(profile: list[float]) -> float:
    """Mean place of the rise from the first to the last ring, pixels: the sum of what each ring lacks of the whole."""
    lacking = sum(profile[-1] - level for level in profile) / (profile[-1] - profile[0])
    return RING_PITCH_PX * lacking


# Channels against each other, band by band

PHASE, AXIAL_COLOUR = Family("phase against absorption"), Family("axial colour")


def colour_sharpness(image: Intermediates, first: int, second: int, band: int) -> float:
    """Logarithm of one channel's power over another's in a band, against the same in the lowest band.

    The lowest band takes out that stain contrasts differ between channels. Red over blue rises at positive score in an
    under-corrected objective.
    """
    if not image.is_colour:
        return 0.0
    one, two = image.colour_bands[first][first], image.colour_bands[second][second]
    return log_ratio(one[band], two[band], COLOUR_FLOOR) - log_ratio(one[0], two[0], COLOUR_FLOOR)


for _second, _band in product((BLUE, GREEN), (2, 4)):
    _name = f"red_{COLOURS[_second]}_sharpness_{_band}"
    _label = f"Detail of red over that of {COLOURS[_second]}, frequency band {_band}"
    AXIAL_COLOUR.add(_name, partial(colour_sharpness, first=RED, second=_second, band=_band), _label, 1, unit=LOG)


def coherence(image: Intermediates, first: int, second: int, band: int) -> float:
    """Correlation of two channels in a band, minus 1: 0 where they show the same pattern, -2 where the opposite.

    Falls at positive score, where phase reverses the weakly absorbed channel first. An under-corrected objective shifts
    blue to positive defocus, so that coherence rises at negative score; without axial colour it stays near 0 there.
    """
    if not image.is_colour:
        return 0.0
    pairs = image.colour_bands
    power = math.sqrt(pairs[first][first][band] * pairs[second][second][band])
    return (pairs[first][second][band] - power) / (power + COLOUR_FLOOR)


for _second, _band in product((GREEN, RED), (1, 2, 3)):
    _label = f"Do blue and {COLOURS[_second]} show the same detail, frequency band {_band}?"
    _compute = partial(coherence, first=BLUE, second=_second, band=_band)
    PHASE.add(f"blue_{COLOURS[_second]}_coherence_{_band}", _compute, _label, sign=-1)


def transfer(image: Intermediates, first: int, second: int, band: int) -> float:
    """How much of ``second``'s pattern in a band the channel ``first`` shows, minus 1 (regression coefficient).

    With ``first`` the weakly absorbed channel it falls at positive score, through -1 where ``first`` reverses, and
    rises towards 0 at negative score, where both show phase above all. Coherence says whether channels agree, transfer
    how strongly. For red in green, two channels that absorb alike, axial colour can outweigh phase and reverse the
    sign.
    """
    if not image.is_colour:
        return 0.0
    pairs = image.colour_bands
    return (pairs[first][second][band] + COLOUR_FLOOR) / (pairs[second][second][band] + COLOUR_FLOOR) - 1


for _first, _second, _bands in ((BLUE, GREEN, (0, 1, 2, 3)), (BLUE, RED, (1, 2)), (RED, GREEN, (1, 2, 3))):
    for _band in _bands:
        _one, _other = COLOURS[_first], COLOURS[_second]
        _label = f"How strongly {_one} shows {_other}'s detail, frequency band {_band}"
        _compute = partial(transfer, first=_first, second=_second, band=_band)
        PHASE.add(f"{_one}_{_other}_transfer_{_band}", _compute, _label, sign=-1)
