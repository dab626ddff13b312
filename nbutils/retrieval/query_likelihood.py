"""Query likelihood: how probable a language model finds the question after reading the passage."""

import numpy as np

from nbutils import generation
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Generator, quiet_transformers
from nbutils.paths import PROMPTS
from nbutils.retrieval.dense import passage_text


def query_likelihoods(generator: Generator, questions: list[str], passages: list[Passage]) -> np.ndarray:
    """Mean over the question's tokens of log p(q_t | q_<t, passage, instruction) in nats, one a pair: (n,).

    The score of UPR (Sachan et al. 2022): log p(passage | question) but for a constant, with all passages equally
    probable before. The prompt is `prompts/query_likelihood.txt`. The question's own tokens count, neither what begins
    it in a sequence-to-sequence model nor what ends it; only where a vocabulary has one token for the last sign and the
    line break ("?" and "\\n\\n" in Llama 3's) it is scored as that. Of a passage that is too long for the model the
    beginning is read, see `question_prompts`. Results are kept by content, see `generation.answer_logprobs`.
    Raises InputError as `question_prompts`.
    """
    prompts, _ = question_prompts(generator, questions, passages)
    token_logprobs = generation.answer_logprobs(generator, prompts, questions)
    bare = generation.answer_tokens(generator, questions, ended=False)
    starts = [int(generator.seq2seq and ids[0] == generator.tokenizer.bos_token_id) for ids in bare]  # BART's <s>
    rows = zip(token_logprobs, starts, bare, strict=True)
    return np.array([row[start : len(ids)].mean() for row, start, ids in rows])


def question_prompts(generator: Generator, questions: list[str], passages: list[Passage]) -> tuple[list[str], int]:
    """The prompt of each pair, and in how many of them the passage was cut.

    A passage, after its title, is cut at its end, after one of the model's own tokens, so that prompt and question fit;
    instruction and question stay whole. Raises InputError for no pairs, an empty question, and one that leaves no room
    for a passage.
    """
    if not questions or len(questions) != len(passages):
        raise InputError(f"{len(questions)} questions and {len(passages)} passages: give one passage to each question")
    if not all(question.strip() for question in questions):
        raise InputError("an empty question: there is nothing to score")
    template = (PROMPTS / "query_likelihood.txt").read_text(encoding="utf-8")
    texts = [passage_text(passage) for passage in passages]
    prompts = [template.replace("{passage}", text) for text in texts]
    limit = getattr(generator.model.config, "max_position_embeddings", None)
    if limit is None:
        return prompts, 0
    # `generation.answer_logprobs` wants room for both together, of a sequence-to-sequence model too.
    rooms = [limit - len(ids) for ids in generation.answer_tokens(generator, questions)]
    with quiet_transformers():  # which warns of long texts
        lengths = [len(ids) for ids in generation.prompt_tokens(generator, prompts)]
        too_long = [row for row in range(len(prompts)) if lengths[row] > rooms[row]]
        for row in too_long:
            prompts[row] = _cut_prompt(generator, template, texts[row], lengths[row], rooms[row])
            if not prompts[row]:
                raise InputError(
                    f"question number {row} ({questions[row][:40]!r}) and the instruction leave no room for a passage "
                    f"in the {limit} tokens of {generator.name}: shorten the question"
                )
    return prompts, len(too_long)


def _cut_prompt(generator: Generator, template: str, text: str, length: int, room: int) -> str:
    """The prompt, of `length` tokens with the whole text, with so much of its beginning that it has `room`; or ""."""
    if not generator.tokenizer.is_fast:
        raise InputError(f"{generator.name}: its tokenizer does not say where a token ends: split the long passages")
    offsets = generator.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    n, prompt = len(offsets), ""
    while length > room:
        n -= length - room  # where text and instruction meet, tokens may come out otherwise: look again
        if n < 1:
            return ""
        prompt = template.replace("{passage}", text[: offsets[n - 1][1]])
        length = len(generation.prompt_tokens(generator, [prompt])[0])
    return prompt
