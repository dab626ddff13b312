"""Long answers in blocks: values and gradients of the whole, few logits at a time; short answers as ever."""

import contextlib
import dataclasses

import checkpoints
import pytest
from substitution import substitute

from nbutils import generation, models, rag, training
from nbutils.data import Example, Passage
from nbutils.generation import output_layer as output_layer_module
from nbutils.generation import scoring as scoring_module
from nbutils.training import TrainingSettings
from nbutils.training import rag_loss as rag_loss_module

PROMPTS = ["Question: Who wrote Faust?\nAnswer:", "Answer:", "Background: Peru. The capital of Peru is Lima.\nAnswer:"]
ANSWERS = [
    "Goethe, and others before him and after him wrote of it too",
    "Russia and, as far as its area goes, nothing else is as large as that",
    "Lima",
]
BLOCK_ROWS = 7
LORA = TrainingSettings(n_steps=1, batch_size=3, lora_rank=4)
FULL = dataclasses.replace(LORA, lora_rank=None)


def tied_llama(folder):
    """As small models mostly are: the output layer is the embeddings, and learns with them."""
    from transformers import LlamaForCausalLM

    tokenizer = checkpoints._save_byte_level(folder, "<s> $A", pad_token="<pad>")
    config = checkpoints._llama_config(len(tokenizer), 32)
    config.tie_word_embeddings = True
    checkpoints._save(LlamaForCausalLM, config, folder, seed=0)
    return str(folder)


def gpt2(folder):
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = checkpoints._save_byte_level(folder, "$A", pad_token="<pad>")
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    config = GPT2Config(vocab_size=len(tokenizer), **sizes, initializer_range=checkpoints.STD)
    checkpoints._save(GPT2LMHeadModel, config, folder, seed=0)
    return str(folder)


def tied_t5(folder):
    """A T5 of the first kind, which scales what enters the output layer."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = checkpoints._save_byte_level(folder, "$A </s>", pad_token="<pad>")
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    tokens = {"pad_token_id": 0, "eos_token_id": checkpoints.END, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), **sizes, **tokens, tie_word_embeddings=True)
    checkpoints._save(T5ForConditionalGeneration, config, folder, seed=0)
    return str(folder)


MODELS = [checkpoints.llama, tied_llama, gpt2, checkpoints.gemma3, checkpoints.bart, tied_t5]


@pytest.fixture(scope="module", params=MODELS, ids=lambda build: build.__name__)
def generator(request, tmp_path_factory):
    return checkpoints.load_on_cpu(models.load_generator, request.param(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def llama(checkpoint):
    return checkpoints.load_on_cpu(models.load_generator, checkpoint("llama"))


@pytest.fixture
def bound(monkeypatch):
    """Function generator, rows of logits that may be alive with gradients and without them, rows of a block."""

    def bound(generator, most, block=BLOCK_ROWS):
        width = output_layer_module.vocabulary_size(generator)
        substitute(monkeypatch, output_layer_module, "MOST_LOGITS", most * width)
        substitute(monkeypatch, output_layer_module, "MOST_LOGITS_WITH_GRADIENTS", most * width)
        substitute(monkeypatch, output_layer_module, "BLOCK_LOGITS", block * width)

    return bound


@contextlib.contextmanager
def rows_of_logits(generator):
    """List of the rows of each matrix that the output layer makes while the block runs."""
    rows = []
    hook = generator.model.get_output_embeddings().register_forward_hook(
        lambda head, inputs, logits: rows.append(logits.numel() // logits.shape[-1])
    )
    yield rows
    hook.remove()


def values_and_gradients(generator, settings):
    """log p of the answers' tokens, the gradients of what learns, and the rows of logits made on the way."""
    learner, module = training.trainable_generator(generator, settings, 0)
    for parameter in module.parameters():  # an adapter begins at zero, where half of its gradients are too
        if settings.lora_rank and parameter.requires_grad:
            parameter.data += 0.05
    batch = generation.tokenize_pairs(learner, PROMPTS, ANSWERS)
    with rows_of_logits(learner) as rows:
        flat = generation.batch_logprobs(learner, *batch)
        weights = 1 + (flat.detach() * 0.1).sin()  # not all alike, as in RAG's loss
        (flat * weights).sum().backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.requires_grad and p.grad is not None}
    return flat.detach(), gradients, rows


def most_rows(generator):
    """A bound below the tokens of all answers; of a sequence-to-sequence model, above those of the longest one."""
    return 60 if generator.seq2seq else 20


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_blocks_have_the_values_and_gradients_of_the_whole(generator, bound, settings):
    import torch

    if settings.lora_rank and generator.model.config.model_type in ("gpt2", "t5"):
        pytest.skip("its matrices do not have the names that adapters are put on")
    whole, expected, all_at_once = values_and_gradients(generator, settings)
    most = most_rows(generator)
    bound(generator, most)
    values, gradients, rows = values_and_gradients(generator, settings)
    assert max(all_at_once) >= len(whole) > most and len(all_at_once) == 1
    assert max(rows) <= (most if generator.seq2seq else BLOCK_ROWS) and len(rows) > 4  # forth, and back once more
    torch.testing.assert_close(values, whole, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected.keys() and len(expected) > 10
    assert max(gradient.abs().max() for gradient in expected.values()) > 1
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()) + 1e-6)
    head = generator.model.get_output_embeddings().weight.shape
    assert settings.lora_rank or any(gradient.shape == head and gradient.any() for gradient in gradients.values())


def test_scores_are_made_in_blocks_too(generator, bound):
    import torch

    batch = generation.tokenize_pairs(generator, PROMPTS, ANSWERS)
    most = most_rows(generator)
    with torch.inference_mode():
        with rows_of_logits(generator) as all_at_once:
            whole = generation.batch_logprobs(generator, *batch)
        bound(generator, most)
        with rows_of_logits(generator) as rows:
            values = generation.batch_logprobs(generator, *batch)
    assert max(rows) <= most < max(all_at_once)
    assert sum(rows) <= sum(all_at_once)  # nothing is computed twice
    torch.testing.assert_close(values, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fault", ["first block alone", "gradients of the head of the last block alone", "order"])
def test_wrong_gradients_of_blocks_would_be_noticed(llama, bound, monkeypatch, fault):
    import torch

    whole, expected, _ = values_and_gradients(llama, FULL)
    bound(llama, 20)
    right = output_layer_module._blocks

    def wrong(n_rows, *tensors):
        found = list(right(n_rows, *tensors))
        if len(tensors) == 3:  # forwards
            return found
        if fault == "order":
            return [(block[0], *other[1:]) for block, other in zip(found, reversed(found), strict=True)]
        if fault == "first block alone":
            tensors[0].zero_()
            return found[:1]
        return [*found[:-1], (found[-1][0], 2 * found[-1][1], *found[-1][2:])]

    substitute(monkeypatch, output_layer_module, "_blocks", wrong)
    with contextlib.suppress(RuntimeError):  # blocks of other sizes
        values, gradients, _ = values_and_gradients(llama, FULL)
        torch.testing.assert_close(values, whole, rtol=1e-5, atol=1e-5)
        assert any((gradients[name] - expected[name]).abs().max() > 1e-3 for name in expected)


def test_weights_that_compute_in_bfloat16_learn_in_float32(checkpoint, bound):
    """As a whole bfloat16 model does, under autocast: its copies of the head in bfloat16 are no dead end."""
    import torch

    llama = checkpoints.load_on_cpu(models.load_generator, checkpoint("llama"))
    found = []
    for most in (10**6, 20):
        bound(llama, most)
        learner, module = training.trainable_generator(llama, FULL, 0)
        batch = generation.tokenize_pairs(learner, PROMPTS, ANSWERS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            flat = generation.batch_logprobs(learner, *batch)
        assert flat.dtype == torch.float32
        flat.sum().backward()
        found.append({name: parameter.grad for name, parameter in module.named_parameters()})
    for name, gradient in found[0].items():
        assert found[1][name].dtype == torch.float32
        error = (found[1][name] - gradient).norm() / gradient.norm()
        assert error < 0.02, name  # bfloat16 has 8 bits
    assert (found[1]["lm_head.weight"] - found[0]["lm_head.weight"]).abs().max() > 0  # it was bfloat16


def test_short_answers_take_the_whole_path_bit_for_bit(generator, bound, monkeypatch):
    """One matrix of logits, one log softmax of it, as it was before there were blocks; nothing is computed again."""
    import torch

    batch = generation.tokenize_pairs(generator, PROMPTS, ANSWERS)
    n_tokens = sum(map(len, batch[1]))
    padded = len(PROMPTS) * max(map(len, batch[1]))
    bound(generator, padded if generator.seq2seq else n_tokens, block=1)  # at the bound, not above it
    calls = []
    monkeypatch.setattr(scoring_module, "recomputed", lambda *given: calls.append(given))
    monkeypatch.setattr(output_layer_module, "_in_blocks", lambda: calls.append("blocks"))
    weights = [weight for weight in generator.model.parameters() if weight.requires_grad]
    ours = generation.batch_logprobs(generator, *batch)
    theirs = written_out(generator, *batch)
    assert torch.equal(ours, theirs) and not calls
    for our, their in zip(
        *(torch.autograd.grad(flat.sum(), weights, allow_unused=True) for flat in (ours, theirs)), strict=True
    ):
        assert (our is None and their is None) or torch.equal(our, their)


def written_out(generator, prompt_ids, answer_ids):
    """`batch_logprobs` with all logits at once."""
    import torch

    model, pad = generator.model, generator.tokenizer.pad_token_id
    labels = torch.tensor([token for ids in answer_ids for token in ids])
    if generator.seq2seq:
        inputs, mask = generation.pad(prompt_ids, pad, "cpu")
        targets, targets_mask = generation.pad(answer_ids, pad, "cpu")
        shifted = torch.full_like(targets, model.config.decoder_start_token_id)
        shifted[:, 1:] = targets[:, :-1]
        logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=shifted).logits[targets_mask.bool()]
    else:
        inputs, _ = generation.pad([p + a[:-1] for p, a in zip(prompt_ids, answer_ids, strict=True)], pad, "cpu", 8)
        hidden = model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state
        starts = [len(ids) - 1 for ids in prompt_ids]
        places = [(row, starts[row] + t) for row, ids in enumerate(answer_ids) for t in range(len(ids))]
        rows, columns = zip(*places, strict=True)
        logits = model.get_output_embeddings()(hidden[list(rows), list(columns)])
        if (cap := getattr(model.config, "final_logit_softcapping", None)) is not None:
            logits = cap * torch.tanh(logits / cap)
    return logits.gather(-1, labels[:, None])[:, 0] - logits.logsumexp(-1)


def test_the_bounds_leave_short_answers_alone(llama, monkeypatch):
    """32 answers of 7 tokens with their endings over 262,144 words learn at once; 16 of 130 do not."""
    import torch

    width = 262_144
    monkeypatch.setattr(output_layer_module, "vocabulary_size", lambda generator: width)
    assert 32 * 8 * width <= output_layer_module.most_logits() < 16 * 130 * width
    with torch.no_grad():
        assert output_layer_module.most_logits() == 1024 * width
    assert output_layer_module.BLOCK_LOGITS // width == 64


def test_a_block_holds_a_row_at_least(llama, bound):
    import torch

    whole, expected, _ = values_and_gradients(llama, LORA)
    bound(llama, 0, block=0)
    values, gradients, rows = values_and_gradients(llama, LORA)
    assert max(rows) == 1
    torch.testing.assert_close(values, whole, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected.keys()


def test_dropout_is_the_same_when_a_block_is_computed_again(tmp_path, bound):
    """Otherwise a sequence-to-sequence model would learn from another pass than the one whose loss was taken."""
    import torch

    bart = checkpoints.load_on_cpu(models.load_generator, checkpoints.bart(tmp_path / "bart"))
    learner, module = training.trainable_generator(bart, FULL, 0)
    module.train()
    batch = generation.tokenize_pairs(learner, PROMPTS[:2], ANSWERS[:2])
    bias = learner.model.final_logits_bias  # of which the gradient is that of the logits themselves

    def gradient_of_bias(recompute):
        found = bias.detach().clone().requires_grad_()
        learner.model.final_logits_bias = found
        torch.manual_seed(3)
        with pytest.MonkeyPatch.context() as patch:
            if not recompute:
                patch.setattr(scoring_module, "recomputed", lambda function, *given: function(*given))
            generation.batch_logprobs(learner, *batch).sum().backward()
        return found.grad

    bound(learner, 60)
    again, kept = gradient_of_bias(True), gradient_of_bias(False)
    torch.testing.assert_close(again, kept, rtol=1e-5, atol=1e-5)
    assert kept.abs().max() > 0.1


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_rag_learns_from_long_answers_in_blocks(llama, bound, marginalization):
    import torch

    corpus = {"p1": Passage("Peru", "Its capital is Lima."), "p2": Passage("Chad", "It is large.")}
    examples = [Example(f"q{i}", "fact", "", "Who?", (text,), ("p1",)) for i, text in enumerate(ANSWERS[:2])]
    prompts = generation.passage_prompts(examples, [["p1", "p2"]] * 2, corpus)
    found = []
    for most in (10**6, 20):
        bound(llama, most)
        learner, module = training.trainable_generator(llama, FULL, 0)
        with rows_of_logits(learner) as rows:
            tokens, mask = rag.answer_token_logprobs(learner, prompts, ANSWERS[:2])
            prior = torch.tensor([[0.7, 0.3], [0.4, 0.6]]).log()
            if marginalization == "sequence":
                loss = -rag.rag_sequence_logprob(prior, tokens, mask).sum()
            else:
                loss = -rag.rag_token_logprobs(prior, tokens, mask).sum()
            loss.backward()
        found.append({name: p.grad for name, p in module.named_parameters() if p.grad is not None})
        assert (max(rows) <= BLOCK_ROWS) == (most == 20)
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-6)


def test_a_rag_step_counts_answers_that_are_longer_than_half_of_their_prompts(llama):
    lengths = rag_loss_module._padded_lengths
    prompts = [["Lima " * 10, "Lima " * 6]]
    n = len(llama.tokenizer(prompts[0][0])["input_ids"])
    short, long = "Lima", "Lima " * 40
    assert lengths(llama, prompts, [short]) == [2 * n]  # as if there were none
    assert lengths(llama, prompts, [long]) == [2 * 2 * len(generation.answer_tokens(llama, [long])[0])]


def test_a_run_on_long_answers_keeps_the_bound(llama, bound, cache_folder):
    """`fine_tune` itself, from the texts to the weights, with dev examples; its history is the unblocked one's."""
    settings = dataclasses.replace(LORA, n_steps=2, evaluate_every=1, learning_rate=1e-2)

    def run(name):
        with rows_of_every_head() as rows:
            system = training.fine_tune(llama, PROMPTS, ANSWERS, settings, 0, name, 1, PROMPTS, ANSWERS)
        return system.history, rows

    whole, all_at_once = run("whole")
    bound(llama, 20)
    cache_folder.rename(cache_folder.with_name("first"))
    blocked, rows = run("blocked")
    assert max(all_at_once) > 20 and max(rows) <= BLOCK_ROWS
    assert blocked.keys() == whole.keys()
    for name, values in whole.items():
        assert blocked[name] == pytest.approx(values, rel=1e-4)


@contextlib.contextmanager
def rows_of_every_head():
    """List of the rows of each matrix that any output layer makes: the training has a copy of the model."""
    import torch

    rows = []

    def note(module, inputs, output):
        if isinstance(module, torch.nn.Linear) and module.out_features > 300:  # words; the model itself is 32 wide
            rows.append(output.numel() // output.shape[-1])

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    yield rows
    hook.remove()
