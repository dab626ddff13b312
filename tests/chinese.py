"""A Chinese collection made of a table of facts: five paragraphs on each of twenty places, and questions on them.

The questions are worded otherwise than the paragraphs; those of one kind share most of their words, those on one place
its name, which no dictionary has.
"""

import json
from pathlib import Path

import numpy as np


def collection(seed: int = 0) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """({id: paragraph}, [(question, answer, id of its paragraph)]): 100 paragraphs, 420 questions."""
    table = json.loads(Path(__file__).with_name("chinese_facts.json").read_text(encoding="utf-8"))
    rng, paragraphs, asked = np.random.default_rng(seed), {}, []
    numbers = {"year": (1500, 1900), "event": (1900, 1990), "height": (12, 95), "far": (3, 99), "small": (2, 60)}
    for i, place in enumerate(table["place"]):
        person = [table["person"][(i + step) % len(table["person"])] for step in (0, 7, 3)]
        facts = {"place": place, "river": table["river"][i % len(table["river"])], "month": rng.integers(1, 13)}
        facts |= dict(zip(("founder", "donor", "master"), person, strict=True))
        facts |= {name: rng.choice(table[name]) for name in ("trade", "style", "feast", "disaster")}
        facts |= {"later": rng.choice(table["trade"])} | {name: rng.integers(*span) for name, span in numbers.items()}
        for kind, content in table["paragraphs"].items():
            paragraphs[f"{place} {kind}"] = content["text"].format(**facts)
            asked += [(q.format(**facts), a.format(**facts), f"{place} {kind}") for q, a in content["questions"]]
    return paragraphs, asked
