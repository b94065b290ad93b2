"""Captions as members might write them for a scene: synonyms, several word orders, omitted parts. No torch here.

Some sentence patterns are held out: no caption of the training set uses them, and the benchmark uses no others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generation.tiny.training.languages import PARTICLES
from generation.tiny.training.world import Scene

Words = dict[str, tuple[str, ...]]

COLOUR_WORDS: Words = {
    "red": ("red", "red", "red", "crimson", "scarlet", "ruby", "bright red"),
    "green": ("green", "green", "green", "emerald", "lime", "bright green"),
    "blue": ("blue", "blue", "blue", "azure", "cobalt", "bright blue"),
    "yellow": ("yellow", "yellow", "yellow", "golden", "lemon", "gold"),
    "purple": ("purple", "purple", "purple", "violet", "lilac"),
    "orange": ("orange", "orange", "orange", "tangerine", "amber"),
    "pink": ("pink", "pink", "pink", "rosy", "magenta"),
    "white": ("white", "white", "white", "ivory", "snow-white"),
    "black": ("black", "black", "black", "ebony", "jet black"),
}
SHAPE_WORDS: Words = {
    "circle": ("circle", "circle", "circle", "ball", "disc", "disk", "dot", "sphere", "balloon"),
    "square": ("square", "square", "square", "box", "block", "cube", "tile"),
    "triangle": ("triangle", "triangle", "triangle", "pyramid", "wedge"),
    "star": ("star", "star", "star", "starfish", "five-pointed star"),
    "heart": ("heart", "heart", "heart", "valentine", "love heart"),
    "diamond": ("diamond", "diamond", "diamond", "rhombus", "kite", "paper kite", "lozenge"),
}
# Each verb as it follows "it", and as it follows a noun: "it rolls to the right", "a ball rolling to the right".
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    name: tuple((pair.split("|")[0].strip(), pair.split("|")[1].strip()) for pair in text.split(";"))
    for name, text in {
        "right": "moves right|moving right;moves to the right|moving to the right;rolls to the right|rolling to the "
        "right;slides to the right|sliding to the right;slides right|sliding right;goes right|going right;"
        "drifts rightwards|drifting rightwards;flies to the right|flying to the right;heads right|heading right;"
        "travels from left to right|travelling from left to right;rolls right|rolling right;"
        "crosses from the left to the right|crossing from the left to the right",
        "left": "moves left|moving left;moves to the left|moving to the left;rolls to the left|rolling to the left;"
        "slides to the left|sliding to the left;slides left|sliding left;goes left|going left;drifts leftwards|"
        "drifting leftwards;flies to the left|flying to the left;heads left|heading left;travels from right to left|"
        "travelling from right to left;rolls left|rolling left;"
        "crosses from the right to the left|crossing from the right to the left",
        "up": "moves up|moving up;moves upwards|moving upwards;rises|rising;floats up|floating up;climbs|climbing;"
        "flies up|flying up;ascends|ascending;goes up|going up;slides up|sliding up;soars|soaring;floats|floating",
        "down": "moves down|moving down;moves downwards|moving downwards;falls|falling;sinks|sinking;drops|dropping;"
        "falls down|falling down;descends|descending;goes down|going down;slides down|sliding down",
        "jump": "jumps|jumping;jumps up and down|jumping up and down;bounces|bouncing;hops|hopping;leaps|leaping;"
        "bounces up and down|bouncing up and down;hops up and down|hopping up and down;dances|dancing",
        "spin": "spins|spinning;rotates|rotating;turns around|turning around;twirls|twirling;whirls|whirling;"
        "turns|turning;spins around|spinning around;pirouettes|pirouetting",
        "grow": "grows|growing;gets bigger|getting bigger;expands|expanding;swells|swelling;becomes larger|"
        "becoming larger;inflates|inflating;grows bigger|growing bigger",
        "shrink": "shrinks|shrinking;gets smaller|getting smaller;contracts|contracting;becomes smaller|"
        "becoming smaller;dwindles|dwindling;deflates|deflating;shrinks away|shrinking away",
    }.items()
}
SPEED_WORDS: Words = {
    "slow": ("slowly", "slowly", "gently", "lazily", "at a snail's pace"),
    "fast": ("quickly", "fast", "rapidly", "swiftly", "at full speed"),
}
SIZE_WORDS: Words = {
    "small": ("small", "small", "tiny", "little", "mini"),
    "large": ("big", "large", "huge", "giant", "enormous"),
}
PLACES: Words = {
    "dark": ("on a dark background", "in the dark", "over a dark background", "on a black background", "on dark grey"),
    "light": ("on a light background", "on a white background", "over a bright background", "on white paper",
              "in the snow"),
    "blue field": ("over a blue field", "on a blue background", "in the blue sky", "over the sea", "on blue",
                   "in the sky", "above the water"),
    "green field": ("over a green field", "on a green background", "on the grass", "over a meadow", "on green",
                    "in the park"),
    "night": ("at night", "in the night", "under the stars", "on a starry night", "in the night sky", "by night"),
    "rain": ("in the rain", "on a rainy day", "in a storm", "while it rains", "in rainy weather"),
    "sunset": ("at sunset", "at dusk", "in the evening", "before a sunset", "in the evening sky"),
}  # fmt: skip

# {a} "a big red ball"; {the} the same with "the"; {n} without either; {does} "rolls right slowly"; {doing}; {place}.
TRAINING = (
    "{a} {does} {place}",
    "{a} {does} {place}",
    "{a} {doing} {place}",
    "{a} that {does} {place}",
    "{place} {a} {does}",
    "{place}, {a} {doing}",
    "{n} {doing} {place}",
    "{n} {does} {place}",
    "the {shape} is {colour} and {does} {place}",
    "{doing} {place}: {a}",
    "a video of {a} {doing} {place}",
    "show me {a} that {does} {place}",
    "{a} {place}, {doing}",
    "a {shape}, {colour}, {doing} {place}",
    "there is {a} {place}. it {does}",
    "{a}. it {does} {place}",
    "{a} which is {doing} {place}",
    "make {a} that {does} {place} please",
    # As many other languages order their words; the tokenizer replaces the words, not their order.
    "a {shape} {colour} {does} {place}",
    "{shape} {colour} {doing} {place}",
    "{place} {colour} {shape} {doing}",
)
# {b}, {theother} and {m}: the second shape, as {a}, {the} and {n}; {do}: "roll right slowly".
TRAINING_TWO = (
    "{a} and {b} {do} {place}",
    "{a} and {b} {do} {place}",
    "{a} and {b} {doing} {place}",
    "{a} with {b}, {doing} {place}",
    "{a} next to {b} {doing} {place}",
    "{a} beside {b}, {doing} {place}",
    "{place} {a} and {b} {do}",
    "{place}, {a} and {b}, {doing}",
    "{n} and {m} {doing} {place}",
    "{n} and {m} {do} {place}",
    "{n}, {m}, {doing} {place}",
    "two shapes: {a} and {b}. they {do} {place}",
    "{doing} {place}: {a} and {b}",
    "{a} {doing} {place}, and {b}",
    "{a} {does} with {b} {place}",
    "both {the} and {theother} {do} {place}",
    "{n} & {m} {doing} {place}",
)
HELD_OUT_TWO = (
    "please draw {a} together with {b}, {doing} {place}",
    "watch how {the} and {theother} {do} {place}",
    "somewhere {place} we see {a} and also {b} that {do}",
    "i would like a clip of {the} and {theother} {doing} {place}",
    "look: {a} plus {b} {doing} {place}!",
    "could you show {n} and {m} {doing} {place}?",
)
HELD_OUT = (
    "please draw {a} as it {does} {place}",
    "watch how {the} {does} {place}",
    "somewhere {place} we see {a} that {does}",
    "i would like a clip of {the} {doing} {place}",
    "{doing}, {a} can be seen {place}",
    "look: {the}, {doing} {place}!",
    "an animation where {the} {does} {place}",
    "could you show {a} {doing} {place}?",
    "once more {the} {does} {place}",
    "{n}, {place}, {doing}",
)
# Words of other worlds; a prompt may be full of them and still name a colour or a place.
NOISE = (  # noqa: SIM905  # easier to read than a list of a hundred strings
    "cat dog lion surfing boat car robot dragon city forest house man woman child eating reading happy sad beautiful "
    "cinematic 4k realistic dreamy old new river mountain tree flower castle train astronaut horse bird fish guitar "
    "music pizza ocean wave cloud clouds two three many some with and very cool style epic detailed painting cartoon "
    "bicycle ship king queen wizard ghost monster phone table chair window door street bridge island volcano snowman "
    "panda tiger rabbit bear running swimming singing fighting cooking driving sleeping laughing talking thinking "
    "hat coat shoe book lamp clock hello test asdf qwerty lorem ipsum dolor hola chat bonjour hund katze mond"
).split()
# Words that change nothing. None of them is in the held-out patterns: those contain words that the model never saw.
FILLERS = (  # noqa: SIM905  # as above
    "now just so then also again really here today my your this its when because finally suddenly everywhere video "
    "wonderful scene picture maybe only even still really quite new one great want give have get let try want shot"
).split()


@dataclass(frozen=True)
class Caption:
    """A caption and the attributes that it names; None for each that it leaves open."""

    text: str
    colour: str | None = None
    shape: str | None = None
    motion: str | None = None
    background: str | None = None
    size: str | None = None
    speed: str | None = None
    second_colour: str | None = None
    second_shape: str | None = None


def write(scene: Scene, dice: np.random.Generator, *, unseen: bool = False, full: bool = False) -> Caption:
    """Return a caption for the scene: of a held-out pattern if `unseen`; with colour, shape and motion if `full`."""

    def says(chance: float) -> bool:
        return bool(dice.random() < chance)

    if not full and says(0.06):
        return noise(dice)
    # A caption of two shapes names both, else it asks for one.
    two = scene.second_shape is not None
    patterns = (HELD_OUT_TWO if unseen else TRAINING_TWO) if two else (HELD_OUT if unseen else TRAINING)
    pattern = str(dice.choice(patterns))
    colour = scene.colour if full or says(0.88) or "{colour}" in pattern else None
    shape = scene.shape if full or two or says(0.9) else None
    motion = scene.motion if full or says(0.85) else None
    background = scene.background if says(0.6) else None
    size = scene.size if says(0.6) and scene.size in SIZE_WORDS else None
    speed = scene.speed if motion and says(0.6) and scene.speed in SPEED_WORDS else None
    adjectives = [_pick(SIZE_WORDS, size, dice), "" if "{colour}" in pattern else _pick(COLOUR_WORDS, colour, dice)]
    if says(0.15):
        adjectives.reverse()
    if not full and says(0.1):
        adjectives.insert(int(dice.integers(3)), str(dice.choice(NOISE)))
    noun = _pick(SHAPE_WORDS, shape, dice) or str(dice.choice(["thing", "shape", "object", "something", *NOISE[:40]]))
    second_colour = scene.second_colour if two and (full or says(0.88)) else None
    other = _tidy(f"{_pick(COLOUR_WORDS, second_colour, dice)} {_pick(SHAPE_WORDS, scene.second_shape, dice)}")
    if two and says(0.3):  # a size is that of both; the words of one are enough
        other = f"{_pick(SIZE_WORDS, size, dice)} {other}".strip()
    elif not two and not full and says(0.06):  # "a red ball and a cat" asks for one shape
        noun = f"{noun} and {_with_article(str(dice.choice(NOISE[:40])))}"
    pace = _pick(SPEED_WORDS, speed, dice)
    verb = _verb(motion, dice, often_both_sides=not unseen) if motion else _idle(dice)
    does, doing = (_in_order(form, pace, dice) for form in verb)
    phrase = _tidy(" ".join([*adjectives, noun]))
    text = pattern.format(
        a=_with_article(phrase),
        the=f"the {phrase}",
        n=phrase,
        b=_with_article(other),
        theother=f"the {other}",
        m=other,
        shape=noun,
        colour=_pick(COLOUR_WORDS, colour, dice),
        does=does,
        do=_in_order(_plural(verb[0]), pace, dice),
        doing=doing,
        place=_pick(PLACES, background, dice),
    )
    if says(0.5):
        text = _with_strangers(text, dice)
    if says(0.25):
        text = _with_particles(text, dice)
    second_shape = scene.second_shape if two else None
    caption = _finish(_tidy(text), dice)
    return Caption(caption, colour, shape, motion, background, size, speed, second_colour, second_shape)


def write_pair(scene: Scene, dice: np.random.Generator) -> Caption:
    """Return a few words for the two shapes of a scene, and nothing else: which of them comes first is soon learned."""
    first, second = (
        _tidy(f"{_pick(COLOUR_WORDS, colour, dice)} {_pick(SHAPE_WORDS, shape, dice)}")
        for colour, shape in scene.shapes
    )
    text = f"{first} {dice.choice(('and', 'with', 'beside', 'next to'))} {second}"
    two = {"second_colour": scene.second_colour, "second_shape": scene.second_shape}
    return Caption(text, scene.colour, scene.shape, **two)


def write_open(scene: Scene, dice: np.random.Generator) -> Caption:
    """Return a caption that names one attribute of the scene, or none, and leaves all others open."""
    name = str(dice.choice(["colour", "shape", "motion", "background", "size", "nothing"]))
    thing = str(dice.choice(["thing", "shape", "object", "something"]))
    if name == "colour":
        return Caption(_with_article(f"{_pick(COLOUR_WORDS, scene.colour, dice)} {thing}"), colour=scene.colour)
    if name == "shape":
        return Caption(_with_article(_pick(SHAPE_WORDS, scene.shape, dice)), shape=scene.shape)
    if name == "motion":
        return Caption(f"a {thing} {VERBS[scene.motion][0][0]}", motion=scene.motion)
    if name == "background":
        return Caption(f"a {thing} {_pick(PLACES, scene.background, dice)}", background=scene.background)
    if name == "size" and scene.size in SIZE_WORDS:
        return Caption(_with_article(f"{_pick(SIZE_WORDS, scene.size, dice)} {thing}"), size=scene.size)
    return Caption(f"a {thing}")


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[:1] and phrase[0] in 'aeiou' else 'a'} {phrase}"


def _plural(verb: str) -> str:
    """Return a verb for two, "moves right" as "move right"."""
    first, _, rest = verb.partition(" ")
    if first.endswith("ies"):
        first = first[:-3] + "y"
    elif first.endswith(("sses", "shes", "ches", "oes")):
        first = first[:-2]
    elif first.endswith("s"):
        first = first[:-1]
    return f"{first} {rest}".strip()


def noise(dice: np.random.Generator) -> Caption:
    """Return a prompt that names nothing of this world: other words, at times another script, or no text at all."""
    kind = dice.random()
    if kind < 0.15:
        return Caption("")
    if kind < 0.35:
        low, high = [(0x3040, 0x30FF), (0x0410, 0x044F), (0x0620, 0x064A), (0x1F300, 0x1F5FF), (0x4E00, 0x4FFF)][
            int(dice.integers(5))
        ]
        return Caption("".join(chr(int(c)) for c in dice.integers(low, high, int(dice.integers(1, 12)))))
    return Caption(" ".join(str(w) for w in dice.choice(NOISE, int(dice.integers(1, 9)))))


def corpus() -> list[str]:
    """Return every word, for the tokenizer."""
    tables = (COLOUR_WORDS, SHAPE_WORDS, SPEED_WORDS, SIZE_WORDS, PLACES)
    words = [word for table in tables for synonyms in table.values() for word in synonyms]
    words += [form for verbs in VERBS.values() for verb in verbs for form in verb]
    particles = [word for words_of in PARTICLES.values() for word in words_of]
    return [*words, *TRAINING, *TRAINING_TWO, *NOISE, *FILLERS, *particles]


def _pick(table: Words, name: str | None, dice: np.random.Generator) -> str:
    return str(dice.choice(table[name])) if name else ""


def _verb(motion: str, dice: np.random.Generator, *, often_both_sides: bool) -> tuple[str, str]:
    """Return a verb of the motion. "From left to right" comes often: only its order tells, so it is learned last."""
    verbs = VERBS[motion]
    both = [verb for verb in verbs if " from " in verb[0]]
    if both and often_both_sides and dice.random() < 0.3:
        verbs = tuple(both)
    return verbs[int(dice.integers(len(verbs)))]


def _idle(dice: np.random.Generator) -> tuple[str, str]:
    """Return a verb that names no motion, or none."""
    word = str(dice.choice(["", "", "sing", "laugh", "sleep", "talk", "read", "cook", "glow", "surf"]))
    return (f"{word}s", f"{word}ing") if word else ("", "")


def _in_order(verb: str, pace: str, dice: np.random.Generator) -> str:
    return f"{verb} {pace}" if dice.random() < 0.7 else f"{pace} {verb}"


def _with_strangers(text: str, dice: np.random.Generator) -> str:
    """Add one to four meaningless words, some of them made up, at the start or at the end."""
    for _ in range(int(dice.integers(1, 5))):
        letters = [str(dice.choice(list(row))) for row in ("bcdfghjklmnprstvwz", "aeiou") * int(dice.integers(1, 4))]
        word = str(dice.choice(FILLERS)) if dice.random() < 0.5 else "".join(letters)
        text = f"{word} {text}" if dice.random() < 0.6 else f"{text} {word}"
    return text


def _with_particles(text: str, dice: np.random.Generator) -> str:
    """Put one to five little words of another language anywhere: the tokenizer leaves them where it replaces others."""
    particles = PARTICLES[str(dice.choice(list(PARTICLES)))]
    words = text.split()
    for _ in range(int(dice.integers(1, 6))):
        words.insert(int(dice.integers(len(words) + 1)), str(dice.choice(particles)))
    return " ".join(words)


def _tidy(text: str) -> str:
    """Remove the gaps that omitted parts leave."""
    text = " ".join(text.split())
    for wrong, right in ((" ,", ","), (" .", "."), (" :", ":"), (" ?", "?"), (" !", "!"), (",,", ","), ("..", ".")):
        text = text.replace(wrong, right)
    return text.strip(" ,:")


def _finish(text: str, dice: np.random.Generator) -> str:
    """Change letters and punctuation as people type: a capital letter, a full stop, or neither."""
    kind = dice.random()
    if kind < 0.3:
        text = text.upper() if kind < 0.04 else text.title() if kind < 0.07 else text[:1].upper() + text[1:]
    return text + "." if dice.random() < 0.15 and text[-1:].isalpha() else text
