"""The turns of a chat: the form in which an instruct model was trained to be asked and to answer."""

import functools
from collections.abc import Sequence

_DATE = "26 Jul 2024"  # Llama's templates show today's where none is given, and prompts would change overnight


def ask_in_turns(tokenizer, examples: Sequence[tuple[str, str]], prompt: str) -> str:
    """Solved examples, each asked and answered in turns, and then the prompt, up to where its answer begins.

    By the tokenizer's chat template, which writes the special tokens itself. A model that can think before it answers
    is asked not to.
    """
    asked = [(("user", question), ("assistant", answer)) for question, answer in examples]
    return _rendered(tokenizer, [*(turn for pair in asked for turn in pair), ("user", prompt)], answer_follows=True)


@functools.lru_cache(maxsize=8)
def turn_end(tokenizer) -> int:
    """The token that ends an answer: the special one that the template writes after it, or else the end of a text."""
    answer = "ANSWER"
    after = _rendered(tokenizer, [("user", "QUESTION"), ("assistant", answer)]).rpartition(answer)[2]
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else tokenizer.eos_token_id


def _rendered(tokenizer, turns: list[tuple[str, str]], answer_follows: bool = False) -> str:
    return tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns],
        add_generation_prompt=answer_follows,
        tokenize=False,
        enable_thinking=False,
        date_string=_DATE,
    )
