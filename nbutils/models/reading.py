"""How much of a text an encoder reads, known without its weights where that is quicker."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nbutils.models.embedded import MINILM, minilm_folder
from nbutils.models.encoder import Encoder
from nbutils.models.load import MINILM_MAX_LENGTH, load_encoder
from nbutils.models.runtime import quiet_transformers

TOKENIZED_AT_ONCE = 4096  # texts whose tokens are only counted


@dataclass(frozen=True)
class Reading:
    """What an encoder reads of a text, by its own tokens."""

    name: str
    max_length: int  # tokens, special ones included
    count_tokens: Callable[[Sequence[str]], list[int]]  # of each text, special ones included, none left out
    title_separator: str
    passage_prompt: str


def n_truncated(encoder: Encoder | Reading, texts: Sequence[str]) -> int:
    """How many of the texts are longer than the encoder's limit, so that it reads their beginning only.

    The texts are those that `encode` would be given: a passage with its title, a question with its prompt.
    """
    reading, n = encoder if isinstance(encoder, Reading) else _reading_of(encoder), 0
    for start in range(0, len(texts), TOKENIZED_AT_ONCE):
        counts = reading.count_tokens(texts[start : start + TOKENIZED_AT_ONCE])
        n += sum(count > reading.max_length for count in counts)
    return n


def load_reading(name: str) -> Reading:
    """What the encoder called `name` reads. Raises InputError as `load_encoder`, whose limit this is.

    For `minilm` in a tenth of a second, from its tokenizer alone; others are loaded, since their limit depends on the
    positions of the model.
    """
    if name != MINILM:
        return _reading_of(load_encoder(name))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    # This tokenizer splits at white space first: the tokens of a text are those of its words, most of which return.
    @functools.lru_cache(maxsize=200_000)
    def count_word(word: str) -> int:
        return len(tokenizer.encode(word, add_special_tokens=False).ids)

    def count_tokens(texts: Sequence[str]) -> list[int]:
        n_special = tokenizer.num_special_tokens_to_add(False)
        return [n_special + sum(map(count_word, text.split())) for text in texts]

    return Reading(name, MINILM_MAX_LENGTH, count_tokens, Encoder.title_separator, Encoder.passage_prompt)


def _reading_of(encoder: Encoder) -> Reading:
    def count_tokens(texts: Sequence[str]) -> list[int]:
        with quiet_transformers():  # which warns of long texts
            return [len(ids) for ids in encoder.tokenizer(list(texts), truncation=False)["input_ids"]]

    return Reading(encoder.name, encoder.max_length, count_tokens, encoder.title_separator, encoder.passage_prompt)
