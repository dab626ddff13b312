"""How much of a text an encoder reads, and texts that are cut to that: its own tokens count, title included."""

import json

import checkpoints
import pytest
from click.testing import CliRunner

from nbutils import data, models, retrieval, text
from nbutils.cli.data import data as commands
from nbutils.data import Dataset, Passage, question_example

GERMAN, CHINESE, THAI = (
    "".join(f"{n}{sentence}" for n in range(40))  # no two pieces are equal
    for sentence in (
        " Hafenmeisterassistenten verwalten Schiffsanlegestellenverzeichnisse. ",
        "港口很安静，海水是蓝色的。",
        "ท่าเรือเงียบสงบน้ำทะเลสีฟ้า ",
    )
)
TEXTS = [GERMAN, CHINESE, THAI, "", "One [SEP] two\u00a0three.\n\tFour\u2014five caf\u00e9", "a" * 300, "1,234.5 %"]


def reading_of_words(max_length=20, prompt=""):
    """An encoder for which every word and both special tokens count 1, and a long word as many as it has dashes."""

    def count(texts):
        return [2 + len(text.replace("-", " ").split()) for text in texts]

    return models.Reading("mine", max_length, count, ". ", prompt)


@pytest.fixture(scope="module")
def minilm():
    return models.load_reading("minilm")


def test_minilm_is_read_as_its_tokenizer_says(minilm):
    """Without its weights; the passages of all scripts have as many tokens as `load_encoder`'s tokenizer makes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models.checkpoint_folder("minilm"))
    with models.quiet_transformers():
        expected = [len(ids) for ids in tokenizer(TEXTS, truncation=False)["input_ids"]]
    assert minilm.count_tokens(TEXTS) == expected and min(expected) == 2
    assert (minilm.max_length, minilm.title_separator, minilm.passage_prompt) == (128, ". ", "")
    assert models.n_truncated(minilm, TEXTS) == sum(n > 128 for n in expected) > 1


def test_another_encoder_is_read_as_it_is_loaded(tmp_path):
    folder = checkpoints.minilm(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"document": "passage: "}}))
    reading, encoder = models.load_reading(folder), models.load_encoder(folder)
    assert (
        (reading.max_length, reading.passage_prompt)
        == (encoder.max_length, encoder.passage_prompt)
        == (
            16,
            "passage: ",
        )
    )
    passages = {str(n): Passage("Peru", " ".join(["Lima"] * n)) for n in range(1, 20)}
    beyond = models.n_truncated(reading, [retrieval.encoder_text(reading, p) for p in passages.values()])
    assert 0 < beyond < 19
    for one in (reading, encoder):
        note = retrieval.cut_note(one, passages)
        share = f"{beyond} of 19 passages ({beyond / 19:.0%})"
        assert note == f"{share} have more than the 16 tokens that {folder} reads, the rest is not searched."
    none = retrieval.cut_note(reading, {"1": Passage("", "Lima")})
    assert none == f"0 of 1 passages (0%) have more than the 16 tokens that {folder} reads."


def test_a_text_is_as_full_as_its_title_leaves_room():
    fill = retrieval.filling(reading_of_words())
    assert fill("", " ".join(["w"] * 18)) == 1 and fill("", " ".join(["w"] * 27)) == 1.5
    assert fill("A title", " ".join(["w"] * 16)) == 1  # 20 - 2 - 2
    assert fill(" ".join(["t"] * 15), " ".join(["w"] * 10)) == 1  # half of the limit is left at least
    assert retrieval.filling(reading_of_words(prompt="passage: "))("", " ".join(["w"] * 17)) == 1


def cut(written, fill, max_words=100):
    return [written[start:end] for start, end in data.split_text(written, max_words, fill)]


def test_pieces_fit_and_lose_nothing():
    fill = retrieval.filling(reading_of_words())
    full = lambda piece: fill("Title", piece)  # noqa: E731
    sentence = "One two three four five six."
    pieces = cut(" ".join([sentence] * 7), full)  # 17 words fit, two sentences
    assert pieces == [f"{sentence} {sentence}"] * 3 + [sentence]
    # Half of the words have five tokens: those pieces are cut once more, and a word alone stays whole.
    uneven = " ".join(["w"] * 40 + ["a-b-c-d-e"] * 40 + ["-".join("x" * 30)])
    pieces = cut(uneven, full)
    assert " ".join(pieces) == uneven
    assert max(full(piece) for piece in pieces[:-1]) <= 1 < full(pieces[-1])
    assert full(cut(uneven, None)[0]) > 1  # by words alone the first piece is too long
    assert cut("", full) == [] and cut("word", full) == ["word"]
    assert max(len(piece.split()) for piece in cut(" ".join(["w"] * 40), full, 5)) == 5


@pytest.mark.parametrize("written", [GERMAN, CHINESE, THAI])
def test_minilm_reads_all_that_is_imported(tmp_path, minilm, written):
    row = {"question": "Wer?", "answers": ["?!"], "passage": written, "title": "Hafen"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    found = {}
    for fill in (None, retrieval.filling(minilm)):
        folder = tmp_path / f"{fill is None}"
        data.import_file(tmp_path / "a.jsonl", folder, fill=fill)
        corpus = data.read_folder(folder).corpus
        assert "".join(p.text for p in corpus.values()).replace(" ", "") == written.replace(" ", "")
        found[fill is None] = retrieval.cut_note(minilm, corpus)
        assert max(len(text.word_spans(p.text)) for p in corpus.values()) <= 100
        assert len(corpus) > 1
    assert found[False].startswith("0 of ")
    if written == GERMAN:
        assert not found[True].startswith("0 of ")


@pytest.mark.parametrize(
    ("answer", "filler", "holds"),
    [
        ("李明", "港口很安静，海水是蓝色的。", "它由李明设计。"),
        ("東京", "港は静かだ。", "東京にある。"),
        ("서울", "항구는 조용하다. ", "서울에서 지었다. "),
        ("القاهرة", "الميناء هادئ. ", "بني بالقاهرة. "),
        ("Helsinki", "Satama on hiljainen. ", "Se on Helsingissä. "),
        ("กรุงเทพ", "ท่าเรือเงียบสงบน้ำทะเลสีฟ้า ", "ตั้งอยู่ที่กรุงเทพ "),
    ],
)
def test_one_piece_is_gold_in_any_script(tmp_path, minilm, answer, filler, holds):
    fillers = [f"{n} {filler}" for n in range(90)]
    written = "".join([*fillers[:45], holds, *fillers[45:]])
    row = {"question": "Where?", "answers": [answer], "passage": written}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    data.import_file(tmp_path / "a.jsonl", tmp_path / "out", fill=retrieval.filling(minilm))
    dataset = data.read_folder(tmp_path / "out")
    (gold,) = dataset.examples[0].gold_passages
    assert len(dataset.corpus) > 2 and holds.strip() in dataset.corpus[gold].text


def show(*arguments):
    result = CliRunner().invoke(commands, ["show", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_what_data_show_says(tmp_path):
    corpus = {"a": Passage("", "港口很安静。"), "b": Passage("", " ".join(["harbor"] * 200))}
    asked = [question_example(f"q{i}", "?", (answer,), ("a",)) for i, answer in enumerate(["A", "yes", "李明"])]
    data.write_folder(tmp_path / "mine", Dataset("mine", corpus, asked))
    shown = show(tmp_path / "mine")
    assert "2 of 3 questions are answered by labels" in shown
    assert "1 of 2 passages (50%) have more than the 128 tokens that minilm reads" in shown
    assert "letters: Latin 100%" in shown  # less than a hundredth is Chinese
    data.write_folder(tmp_path / "zh", Dataset("zh", {"a": corpus["a"]}, asked[2:]))
    shown = show(tmp_path / "zh", "--encoder", checkpoints.minilm(tmp_path / "other"))
    assert "letters: Han 100%" in shown and "Words of Chinese or Japanese" in shown
    assert "labels" not in shown and "0 of 1 passages (0%)" in shown and "minilm reads" not in shown


def test_scripts_of_letters():
    assert text.script_shares(["abc, 123", "дефг"]) == {"Cyrillic": 4 / 7, "Latin": 3 / 7}
    assert text.script_shares(["\u16a0\u16a1"]) == {"other": 1.0}  # runes
    assert text.script_shares(["123", ""]) == {}
