"""A stylised abdomen: where its organs lie and how bright they are.

Drawn at the size of an adult, in millimetres from the middle of the liver: +x to the patient's right, +y to the front,
+z to the head. Shapes and attenuations are round numbers of radiology textbooks, good enough to train a network on the
kinds of difficulty that CT has (neighbours as bright as the liver, vessels and a gallbladder as dark or bright as
tumours), and no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.phantom.solids import ANYWHERE, Part, Point, Solid, Values, capsule, column, ellipsoid, half_space
from medseg.phantom.tumours import draw_tumours

Phase = Literal["native", "arterial", "portal"]

BACKGROUND, LIVER = 0, 1
"""Label values of liver outside tumours, and of all else; ``tumours.TUMOUR`` is the third."""

ADULT_WIDTH_MM = 330.0
"""Mean width of the body that this module draws."""

ATTENUATION_HU: dict[Phase, dict[str, float]] = {
    "native": {"liver": 58, "spleen": 48, "kidney": 34, "aorta": 42, "cava": 42, "portal": 40, "hepatic": 40},
    "arterial": {"liver": 74, "spleen": 120, "kidney": 170, "aorta": 270, "cava": 80, "portal": 105, "hepatic": 70},
    "portal": {"liver": 108, "spleen": 116, "kidney": 175, "aorta": 155, "cava": 145, "portal": 168, "hepatic": 160},
}
"""Mean attenuation of what contrast medium changes, by its phase."""

AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU, SKIN_HU, BILE_HU = -1000.0, -850.0, -102.0, 55.0, 20.0, 10.0
"""Attenuation of what contrast medium leaves alone."""


@dataclass(frozen=True)
class _Torso:
    """The frame that the organs share."""

    body: Solid
    wall: Solid
    cavity: Solid
    half_width: float
    half_depth: float


def draw_anatomy(rng: np.random.Generator, tumour_diameters: Sequence[float]) -> list[Part]:
    """Draw one patient.

    Args:
        rng: decides habitus, contrast phase, shapes and places.
        tumour_diameters: diameters of equally large spheres, in (adult) mm. A tumour that finds no room in the liver
            shrinks until it does.

    Returns:
        The parts from back to front; the table first, tumours last.
    """
    phase = rng.choice(np.array(["native", "arterial", "portal"]), p=[0.2, 0.2, 0.6])
    hu = {name: float(value * rng.normal(1, 0.06)) for name, value in ATTENUATION_HU[phase].items()}
    torso = _torso(rng)
    liver = _liver(rng, torso)
    neighbours = _neighbours(rng, torso, hu)
    room = liver
    for part in neighbours:
        room = room.without(part.solid, 2)
    return [
        *_table(rng, torso),
        *_wall(torso),
        *_chest(rng, torso, hu),
        *_bowel(rng, torso),
        *_upper_left(rng, torso, hu),
        Part("liver", liver, hu["liver"], LIVER),
        *_liver_vessels(rng, liver, hu),
        *neighbours,
        *draw_tumours(rng, room, hu["liver"], tumour_diameters),
    ]


def _torso(rng: np.random.Generator) -> _Torso:
    width, depth = float(rng.normal(ADULT_WIDTH_MM / 2, 6)), float(rng.normal(112, 6))
    fat, muscle = float(rng.uniform(8, 22)), float(rng.uniform(11, 15))
    body = column((0, 0), (width, depth), boxiness=0.35)
    wall = column((0, 1), (width - fat, depth - 0.9 * fat), boxiness=0.35)
    inner = (width - fat - muscle, depth - fat - muscle - 8)
    return _Torso(body, wall, column((0, 7), inner, boxiness=0.3), *inner)


def _wall(torso: _Torso) -> list[Part]:
    """Skin, fat, muscle, and the cavity with the long muscles of the back."""
    parts = [
        Part("skin", torso.body, SKIN_HU),
        Part("fat", torso.body.grown(-2.5), FAT_HU),
        Part("muscle", torso.wall, MUSCLE_HU),
        Part("cavity", torso.cavity, FAT_HU + 6),
    ]
    for side in (1, -1):
        back = column((side * 34, -torso.half_depth + 6), (27, 20)).within(torso.wall.grown(-1))
        psoas = capsule((side * 30, -40, -10), (side * 46, -38, -190), 4, 20)
        parts += [Part("back muscle", back, MUSCLE_HU), Part("psoas", psoas, MUSCLE_HU)]
    return parts


def _chest(rng: np.random.Generator, torso: _Torso, hu: dict[str, float]) -> list[Part]:
    """Lung bases on the dome of the diaphragm, heart, ribs and the tip of the breastbone."""
    dome = ellipsoid((0, 12, -62), (torso.half_width + 14, torso.half_depth + 18, float(rng.uniform(135, 148))))
    lungs = torso.cavity.within(half_space(2, -20)).without(dome.bumpy(rng, 5, 90), 0, 6)
    lungs = lungs.without(column((-2, 8), (26, 74)), 0, 8)
    heart = ellipsoid(_near(rng, (-22, 38, 122), 5), _sized(rng, (60, 46, 40)), (0, 20, 0))
    breastbone = column((0, torso.half_depth + 13), (18, 5)).within(half_space(2, 92), 6)
    bone = float(rng.uniform(260, 380))
    return [
        Part("lung", lungs, LUNG_HU + float(rng.normal(0, 20))),
        Part("pericardium", heart.grown(2), MUSCLE_HU),
        Part("heart", heart, 0.7 * hu["cava"] + 25),
        Part("ribs", _ribs(torso, float(rng.uniform(0, 33))), bone),
        Part("breastbone", breastbone, 0.7 * bone),
    ]


def _neighbours(rng: np.random.Generator, torso: _Torso, hu: dict[str, float]) -> list[Part]:
    """What dents the liver: spine with the crura of the diaphragm, great vessels, kidneys and gallbladder."""
    parts = [*_spine(rng, torso)]
    parts += [Part("aorta", _tube(rng, (-9, 33 - torso.half_depth), 10), hu["aorta"], BACKGROUND)]
    parts += [Part("cava", _tube(rng, (20, 31 - torso.half_depth), 11), hu["cava"], BACKGROUND)]
    for side in (1, -1):
        kidney, sinus = _kidney(rng, side)
        parts += [
            Part("perirenal fat", kidney.grown(4), FAT_HU, BACKGROUND),
            Part("kidney", kidney, hu["kidney"]),
            Part("renal sinus", sinus, FAT_HU + 40),
        ]
    gallbladder = ellipsoid(_near(rng, (45, 50, -42), 4), _sized(rng, (13, 16, 26)), (30, 0, 0)).bumpy(rng, 2, 40)
    wall = Part("gallbladder wall", gallbladder, MUSCLE_HU, BACKGROUND)
    return [*parts, wall, Part("gallbladder", gallbladder.grown(-1.5), BILE_HU)]


def _spine(rng: np.random.Generator, torso: _Torso) -> list[Part]:
    """Vertebrae with a bright cortex, discs between them, the arch behind, the canal in it."""
    y, phase, bone = -torso.half_depth + 8, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.8, 1.2))
    bodies, canal = column((0, y), (22, 17)), column((0, y - 24), (9, 8))
    arch = column((0, y - 25), (15, 13)).joined(column((0, y - 42), (4, 12)), 6)

    def gaps(x: Values, y: Values, z: Values) -> Values:
        wave: Values = 20 * (0.86 + np.cos(z * (2 * np.pi / 36) + phase))
        return wave

    vertebrae = bodies.without(Solid(gaps, (-ANYWHERE,) * 3, (ANYWHERE,) * 3))
    return [
        Part("crura", bodies.grown(5), MUSCLE_HU, BACKGROUND),
        Part("discs", bodies, 90),
        Part("arches", arch, 330 * bone),
        Part("vertebral cortex", vertebrae, 340 * bone),
        Part("vertebrae", vertebrae.grown(-2.5), 200 * bone),
        Part("spinal canal", canal, 35),
    ]


def _ribs(torso: _Torso, offset: float) -> Solid:
    """Rods in the body wall that sink towards the front, one every 33 mm, above the costal margin."""
    wall = column((0, 6), (torso.half_width + 5, torso.half_depth + 6), boxiness=0.3)

    def field(x: Values, y: Values, z: Values) -> Values:
        across = wall.field(x, y, z)
        height = np.mod(z + 0.5 * y + 0.25 * np.abs(x) + (offset + 100 * 33), 33) - 16.5
        rods = (np.sqrt((across / 4) ** 2 + (height / 7) ** 2) - 1) * 4
        above_margin: Values = np.maximum(rods, 0.95 * y + 25 - z)
        return above_margin

    return Solid(field, torso.wall.low, torso.wall.high)


def _tube(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> Solid:
    x, y, _ = _near(rng, (*centre, 0.0), 2)
    size = radius * float(rng.uniform(0.85, 1.2))
    return column((x, y), (size, size * 0.92)).bumpy(rng, 3, 150)


def _kidney(rng: np.random.Generator, side: int) -> tuple[Solid, Solid]:
    """A kidney and the fat of its sinus, which opens towards the spine; side 1 is the patient's right."""
    centre = _near(rng, (side * 63, -42, -70 if side > 0 else -50), 5)
    kidney = ellipsoid(centre, _sized(rng, (27, 25, 52)), (8, -side * 12, -side * 30)).bumpy(rng, 2, 40)
    hilum = (centre[0] - side * 22, centre[1] + 12, centre[2])
    sinus = ellipsoid(hilum, (20, 9, 24), (0, 0, -side * 30)).within(kidney.grown(1))
    return kidney, sinus


def _liver(rng: np.random.Generator, torso: _Torso) -> Solid:
    """A big right lobe and a left one that tapers across the midline, hollowed from below by the viscera."""
    right = ellipsoid(_near(rng, (66, 0, 0), 4), _sized(rng, (72, 78, 80)), (0, float(rng.uniform(-8, 8)), 0))
    left = ellipsoid(_near(rng, (-2, 38, 30), 5), _sized(rng, (78, 36, 34)), (0, float(rng.uniform(8, 22)), 12))
    viscera = ellipsoid(_near(rng, (-26, -30, -72), 6), _sized(rng, (88, 92, 86)), (0, -20, 0))
    whole = right.joined(left, 25).without(viscera, 0, 18).bumpy(rng, 5, 80)
    return whole.within(torso.cavity.grown(-3), 10)


def _liver_vessels(rng: np.random.Generator, liver: Solid, hu: dict[str, float]) -> list[Part]:
    """Hepatic veins that meet the cava under the dome, and the portal vein's branches from the hilum."""
    confluence, hilum = (20.0, -14.0, 52.0), _near(rng, (22, 8, -4), 3)
    vein_ends = [_near(rng, end, 8) for end in ((115.0, 5.0, 20.0), (62.0, 55.0, 12.0), (-25.0, 48.0, 34.0))]
    portal_ends = [_near(rng, end, 8) for end in ((78.0, 38.0, -18.0), (92.0, -28.0, 8.0), (-20.0, 46.0, 22.0))]
    fork = _near(rng, (52, 4, 2), 4)
    veins = [capsule(confluence, end, 5.5, 1.5) for end in vein_ends]
    branches = [capsule(fork, end, 5, 1.5) for end in portal_ends[:2]]
    branches += [capsule(hilum, fork, 7.5, 6), capsule(hilum, portal_ends[2], 6, 1.5)]
    inside = liver.grown(-2)
    parts = [Part("hepatic vein", vein.bumpy(rng, 4, 50).within(inside), hu["hepatic"]) for vein in veins]
    return parts + [Part("portal vein", b.bumpy(rng, 4, 50).within(inside), hu["portal"]) for b in branches]


def _upper_left(rng: np.random.Generator, torso: _Torso, hu: dict[str, float]) -> list[Part]:
    """Spleen, pancreas, and the stomach, whose gas floats to the front of a patient on the back."""
    spleen = ellipsoid(_near(rng, (-100, -26, 18), 5), _sized(rng, (30, 46, 56)), (15, 10, 20)).bumpy(rng, 4, 60)
    tail, head = _near(rng, (-70, -8, 2), 6), _near(rng, (30, 14, -44), 6)
    neck = _near(rng, (-12, 16, -26), 4)
    pancreas = capsule(tail, neck, 8, 9).joined(capsule(neck, head, 9, 15), 8).bumpy(rng, 4, 25)
    stomach = ellipsoid(_near(rng, (-60, 28, 12), 6), _sized(rng, (46, 40, 50)), (0, -20, 15)).bumpy(rng, 5, 60)
    stomach = stomach.within(torso.cavity.grown(-4), 8)
    contents = stomach.grown(-4)
    return [
        Part("spleen", spleen.within(torso.cavity.grown(-3), 6), hu["spleen"]),
        Part("pancreas", pancreas, 0.6 * hu["spleen"] + 15),
        Part("stomach wall", stomach, 70),
        Part("stomach", contents, float(rng.uniform(0, 45))),
        Part("stomach gas", contents.within(half_space(1, float(rng.uniform(35, 62)))), -950),
    ]


def _bowel(rng: np.random.Generator, torso: _Torso) -> list[Part]:
    """Loops in the lower and left abdomen, as bright as muscle or liver; a few hold gas."""
    parts: list[Part] = []
    room = torso.cavity.grown(-5)
    for _ in range(int(rng.integers(34, 46))):
        x, y, z = (float(rng.uniform(*span)) for span in ((-105, 105), (-15, 70), (-165, -40)))
        loop = ellipsoid((x, y, z), _sized(rng, (26, 19, 22), 0.25), _near(rng, (0, 0, 0), 40)).bumpy(rng, 4, 35)
        loop = loop.within(room)
        parts.append(Part("bowel wall", loop, float(rng.uniform(50, 110))))
        parts.append(Part("bowel", loop.grown(-3), -900.0 if rng.random() < 0.2 else float(rng.uniform(5, 60))))
    return parts


def _table(rng: np.random.Generator, torso: _Torso) -> list[Part]:
    """In three of four studies, the thin curved table under the back."""
    if rng.random() < 0.25:
        return []
    top = torso.body.low[1] - float(rng.uniform(1, 5))
    shell = column((0, top + 290), (300, 300)).without(column((0, top + 290), (297, 297)))
    sheet = Solid(shell.field, (-150, top - 12, -ANYWHERE), (150, top + 32, ANYWHERE))
    limits = column((0, top), (150, 40), boxiness=1.0)
    return [Part("table", sheet.within(limits), float(rng.uniform(-200, 100)))]


def _near(rng: np.random.Generator, point: Point, spread: float) -> Point:
    x, y, z = (float(value + rng.uniform(-spread, spread)) for value in point)
    return x, y, z


def _sized(rng: np.random.Generator, radii: Point, spread: float = 0.08) -> Point:
    x, y, z = (float(value * (1 + rng.uniform(-spread, spread))) for value in radii)
    return x, y, z
