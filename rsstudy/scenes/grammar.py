"""Captions: each names some attributes of a scene in one of six wordings."""

from __future__ import annotations

from dataclasses import fields
from random import Random

from rsstudy.scenes.world import KINDS, SIDES, Scene, seed_of

# What captions can name; the order is that of the random ranks below.
ATTRIBUTES = [f.name for f in fields(Scene) if f.name not in ("kind", "look")]
# A caption names the first attribute only together with the second.
NEEDS = {"side": "surroundings", "companions": "companion", "companion_colour": "companion"}
WORDINGS = (
    "there {are} {things} {arranged} {place} {near} {along} {sky} .",
    "{things} {are} {verb} {arranged} {place} {near} {along} {sky} .",
    "it is {area} with {things} {arranged} {near} {along} {sky} .",
    "{things} can be seen {arranged} {place} {near} {along} {sky} .",
    "{sky} {things} {are} {place} {arranged} {near} {along} .",
    "{place} {near} , {things} {are} {verb} {arranged} {along} {sky} .",
)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
FEW, MANY = ("some", "a few"), ("many", "several", "lots of")
PLURALS = {
    "factory": "factories",
    "church": "churches",
    "bus": "buses",
    "patch of flowers": "patches of flowers",
    "row of houses": "rows of houses",
}
ROOFED = ("house", "row of houses", "villa", "church", "pavilion")
ARRANGED = {
    "": ("",),
    "row": ("in a row", "in a line"),
    "two rows": ("in two rows", "in two lines"),
    "scattered": ("here and there", "scattered about"),
    "circle": ("in a circle", "in a ring"),
}
NEAR = ("near", "next to", "beside", "close to")
SURROUNDINGS = {
    "trees": ("some green trees", "many green trees"),
    "bare land": ("a piece of bare land", "bare land"),
    "water": ("a piece of water", "the water"),
    "road": ("a road", "a straight road"),
    "lawn": ("a lawn", "a green lawn"),
    "buildings": ("some buildings", "a row of buildings"),
}
ALONG = ("with {} nearby", "and there {are} {}", "along with {}")


class Wording:
    """The choices of words of one caption: the usual one with probability ``alike``."""

    def __init__(self, seed: int, alike: float):
        self.random, self.alike = Random(seed).random, alike

    def pick(self, options: tuple[str, ...], usual: int = 0) -> str:
        keep, other = self.random(), self.random()
        return options[usual if keep < self.alike else int(other * len(options))]

    def some(self, thing: str, count: int, counted: bool, colour: str) -> str:
        """Things in words: four white planes, many planes, a house with a red roof."""
        name = thing if count == 1 else PLURALS.get(thing, thing + "s")
        roof, vague = self.pick(("", "roof")), self.pick(FEW if count < 4 else MANY)
        article = self.pick(("a", "one"))
        if colour and roof and thing in ROOFED:
            single = count == 1 and thing != "row of houses"
            name += f" with {'a' if single else ''} {colour} roof{'' if single else 's'}"
        elif colour:
            *front, noun = name.rsplit(" of ", 1)
            name = " of ".join([*front, f"{colour} {noun}"])
        if count > 1:
            return f"{NUMBERS[count] if counted else vague} {name}"
        if counted and article == "one":
            return f"one {name}"
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def attributes(scene: Scene) -> list[str]:
    """The attributes of ``scene`` that a caption can name."""
    return [name for name in ATTRIBUTES if getattr(scene, name) != ""]


def caption(scene: Scene, domain: str, alike: float, which: int, more: int = 0) -> str | None:
    """Caption ``which`` of ``scene``; None if it has not enough attributes for ``more``.

    At ``alike`` 0 a caption names three attributes or more in any wording. At 1 it names none, and
    all scenes share five wordings. ``more`` is a number of further attributes.
    """
    words, known = Wording(seed_of("words", scene.look, which), alike), attributes(scene)
    rank = {name: words.random() for name in ATTRIBUTES}
    for child, parent in NEEDS.items():
        rank[child] = max(rank[child], rank[parent] + 1e-9)
    detail = round((1 - alike) ** 1.5 * (3 + words.random() * (len(known) - 3))) + more
    if detail > len(known):
        return None
    named = sorted(known, key=rank.__getitem__)[:detail]
    kind = KINDS[scene.kind]

    told = {name: getattr(scene, name) if name in named else "" for name in ATTRIBUTES}
    surroundings, near = words.pick(SURROUNDINGS[scene.surroundings]), words.pick(NEAR)
    side = SIDES[domain][scene.side] if "side" in named else ""
    colour, counted = told["companion_colour"], "companions" in named
    beside = words.some(scene.companion, scene.companions, counted, colour)
    along = words.pick(ALONG).format(beside, are="is" if scene.companions == 1 else "are")
    text = words.pick(WORDINGS, which).format(
        things=words.some(kind.thing, scene.count, "count" in named, told["colour"]),
        are="is" if scene.count == 1 else "are",
        verb=kind.verb,
        arranged=words.pick(ARRANGED[told["arrangement"]]),
        place=kind.place,
        area=kind.place.split(" ", 1)[1],
        near=f"{near} {surroundings} {side}" if "surroundings" in named else "",
        along=along if "companion" in named else "",
        sky=told["sky"],
    )
    return " ".join(text.split())
