"""Where prompts and answers become tokens: how a prompt begins, what stands before an answer, and what ends it.

A base model goes on with the text: its answer follows after a space and ends with a blank line, as in the prompt's
examples. An instruct model (`Generator.chat`) is asked in a turn of a chat and answers in the next one; so are solved
examples, without which it would answer them too. A sequence-to-sequence model has targets of their own.
"""

import functools

from nbutils.generation.prompts import split_examples
from nbutils.models import Generator, ask_in_turns, turn_end

ANSWER_END = "\n\n"  # what stands after an answer in prompts/example.txt: one token in most vocabularies


def prompt_tokens(generator: Generator, prompts: list[str]) -> list[list[int]]:
    """Token ids of the prompts, with the special tokens of their beginning."""
    tokenizer = generator.tokenizer
    if generator.chat:
        turns = [ask_in_turns(tokenizer, *split_examples(prompt)) for prompt in prompts]
        return tokenizer(turns, add_special_tokens=False)["input_ids"]  # the template has written them
    return tokenizer(prompts)["input_ids"]


def answer_tokens(generator: Generator, answers: list[str], ended: bool = True) -> list[list[int]]:
    """Token ids of the answers as they would be generated after a prompt, with their ending or without it."""
    tokenizer = generator.tokenizer
    if generator.seq2seq:
        ids = tokenizer(text_target=answers)["input_ids"]
        return ids if ended else [row[:-1] for row in ids]
    if generator.chat:
        ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
        return [row + ending_tokens(generator) for row in ids] if ended else ids
    ending = ANSWER_END if ended else ""
    return tokenizer([f" {answer}{ending}" for answer in answers], add_special_tokens=False)["input_ids"]


def ending_tokens(generator: Generator) -> list[int]:
    """What ends the answers of a decoder-only model in `answer_tokens`."""
    if generator.chat:
        return [turn_end(generator.tokenizer)]
    return generator.tokenizer(ANSWER_END, add_special_tokens=False)["input_ids"]


def stop_tokens(generator: Generator) -> list[int]:
    """Any of these ends an answer that is being generated: an answer is one line, of an instruct model too."""
    tokenizer = generator.tokenizer
    if generator.seq2seq:
        return [tokenizer.eos_token_id]
    ends = {tokenizer.eos_token_id, *newline_tokens(tokenizer)}
    return sorted(ends | {turn_end(tokenizer)} if generator.chat else ends)


@functools.lru_cache(maxsize=2)  # a second or two for a large vocabulary
def newline_tokens(tokenizer) -> list[int]:
    """Every token that contains a newline: a model may end its line with one newline or with several in one token."""
    return [
        token for token, text in enumerate(tokenizer.batch_decode([[i] for i in range(len(tokenizer))])) if "\n" in text
    ]
