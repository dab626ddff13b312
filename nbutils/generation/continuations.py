"""log p of whole answers after prompts that were read once; common beginnings go through the model once."""

from collections.abc import Iterator

from nbutils.errors import InputError
from nbutils.generation.compiled import call_compiled
from nbutils.generation.decoding import GENERATION_TOKENS
from nbutils.generation.output_layer import vocabulary_size
from nbutils.generation.prefix import Prefix, copy_cache, decode_step, gather, next_logits
from nbutils.generation.scoring import pad, require_length
from nbutils.generation.turns import prompt_tokens
from nbutils.models import Generator, batches_by_length

LOGITS = 2**26  # numbers in one matrix of logits: 256 MB in float32
COPY_TOKENS = 32768  # prompt and answer tokens of which keys and values are copied at once


def score_continuations(generator: Generator, prefix: Prefix, features, rows: list[int], answers: list[list[int]]):
    """log p of whole answers, (P,) float32: of the tokens `answers[i]` after prompt number `rows[i]` of `prefix`.

    `features` are those of the first answer token; only the further tokens go through the model. Where that can be
    done, all answers of a prompt go through it in one row, and what they begin with in common once.
    """
    import torch

    device, width = features.device, prefix.mask.shape[1]
    all_rows = torch.tensor(rows, device=device)
    first = torch.tensor([ids[0] for ids in answers], device=device)
    totals = _token_logprobs(generator, features, all_rows, first)
    longer = [i for i, ids in enumerate(answers) if len(ids) > 1]
    together = _can_share_rows(generator, width + max(map(len, answers)))
    groups: dict[int, list[int]] = {}  # numbers of the answers in one row
    for i in longer:
        groups.setdefault(rows[i] if together else i, []).append(i)
    members = list(groups.values())
    trees = [_trie([answers[i][:-1] for i in group]) for group in members]
    # A sequence-to-sequence model gives all logits at once: count each as a share of what may be alive.
    share = COPY_TOKENS * vocabulary_size(generator) // LOGITS if generator.seq2seq else 0
    lengths = [max(width + len(tree), share * len(tree)) for tree in trees]
    # Rows that hold several answers differ in length: small batches have less padding.
    for batch in batches_by_length(lengths, COPY_TOKENS // 8 if together else COPY_TOKENS):
        chosen = gather(prefix, all_rows[[members[number][0] for number in batch]])
        tokens = [[start[-1] for start in trees[number]] for number in batch]
        inputs, mask = pad(tokens, generator.tokenizer.pad_token_id, device)
        # Right-padded: what follows an answer is not seen from it.
        visible = _ancestors([trees[number] for number in batch], inputs.shape[1]).to(device) if together else None
        outputs = decode_step(generator, copy_cache(chosen), inputs, visible)[mask.bool()]
        places, pairs, before = [], [], 0
        for number in batch:
            for i in members[number]:
                places += [before + trees[number][tuple(answers[i][:t])] for t in range(1, len(answers[i]))]
                pairs += [i] * (len(answers[i]) - 1)
            before += len(trees[number])
        targets = [token for number in batch for i in members[number] for token in answers[i][1:]]
        places, pairs, targets = (torch.tensor(numbers, device=device) for numbers in (places, pairs, targets))
        totals.index_add_(0, pairs, _token_logprobs(generator, outputs, places, targets))
    return totals


def _can_share_rows(generator: Generator, width: int) -> bool:
    """True where a row may hold several answers: positions and attention can be set, and every layer sees it all."""
    config = generator.model.config
    window = getattr(config, "sliding_window", None)
    return not generator.seq2seq and config._attn_implementation == "sdpa" and (window is None or width < window)


def _trie(answers: list[list[int]]) -> dict[tuple[int, ...], int]:
    """Every beginning of the answers, each once, with its number; a beginning's own beginnings stand before it."""
    beginnings = dict.fromkeys(tuple(ids[:t]) for ids in answers for t in range(1, len(ids) + 1))
    return {beginning: number for number, beginning in enumerate(beginnings)}


def _ancestors(trees: list[dict[tuple[int, ...], int]], width: int):
    """Which tokens of its row each token looks at, (R, W, W) bool: those that it goes on from, and itself."""
    import torch

    visible = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        for beginning, number in tree.items():
            visible[row, number, [tree[beginning[:t]] for t in range(1, len(beginning))]] = True
    return visible


def _token_logprobs(generator: Generator, features, rows, tokens):
    """log p of tokens (P,) after the features number `rows` (P,) of (N, .), with few logits alive at a time: (P,)."""
    import torch

    logprobs = torch.empty(len(rows), device=features.device)
    step = max(1, LOGITS // vocabulary_size(generator))
    for start in range(0, len(features), step):
        logits = next_logits(generator, features[start : start + step])
        inside = (rows >= start) & (rows < start + step)
        chosen = rows[inside] - start
        normalizer = call_compiled(generator, _normalizer, logits)
        logprobs[inside] = logits[chosen, tokens[inside]].float() - normalizer[chosen]
    return logprobs


def _normalizer(logits):
    return logits.float().logsumexp(-1)


def tokenize_prompts(generator: Generator, prompts: list[list[str]], max_new_tokens: int) -> list[list[list[int]]]:
    """Token ids of every prompt of every question; raises InputError for what does not fit the model."""
    flat = prompt_tokens(generator, [prompt for row in prompts for prompt in row])
    if not all(flat):
        raise InputError(f"prompt number {flat.index([])} is empty: there is nothing to continue")
    require_length(generator, [len(ids) for ids in flat], max_new_tokens)
    rest = iter(flat)
    return [[next(rest) for _ in row] for row in prompts]


def question_batches(
    generator: Generator, prompt_ids: list[list[list[int]]], max_new_tokens: int, n_beams: int
) -> Iterator[list[int]]:
    """Numbers of questions to be read together: equally many passages, prompts of similar length, bounded memory."""
    least = GENERATION_TOKENS * vocabulary_size(generator) // LOGITS  # short prompts: the logits are the bound
    by_count: dict[int, list[int]] = {}
    for number, row in enumerate(prompt_ids):
        by_count.setdefault(len(row), []).append(number)
    for n_docs, numbers in by_count.items():
        widths = [max(max(map(len, prompt_ids[number])) + max_new_tokens, least) for number in numbers]
        for batch in batches_by_length([n_docs * n_beams * w for w in widths], GENERATION_TOKENS):
            yield [numbers[i] for i in batch]
