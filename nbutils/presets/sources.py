"""What every run starts from: a data set, models and an index."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sources:
    """Names as `data`, `models` and `retrieval` load them, and how much is loaded."""

    dataset: str  # factbook | squadshifts-wiki | folder | hub id | "questions,more+corpus" of hub ids
    question_encoder: str  # minilm | folder | hub id
    passage_encoder: str  # the same name, or the other tower
    generator: str  # gemma-3-270m | folder | hub id
    quantize: str | None = None  # nf4 = weights in 4 bits; with LoRA, QLoRA
    index: str = "Flat"  # faiss's description; Flat = exact
    search_parameters: str | None = None  # faiss's too: "nprobe=128" of an IVF, "efSearch=64" of an HNSW; None = exact
    n_countries: int | None = None  # Factbook only; None = all
    n_passages: int | None = None  # hub corpora only; None = all


# What the package has embedded: no network.
EMBEDDED = Sources(dataset="factbook", question_encoder="minilm", passage_encoder="minilm", generator="gemma-3-270m")

# The retriever is Contriever fine-tuned on MS-MARCO, the runner-up of RA-DIT's Table 7: DRAGON+ needs two towers with
# the [CLS] vector, and its repositories say neither.
WIKIPEDIA = Sources(
    dataset="google-research-datasets/nq_open+facebook/wiki_dpr",
    question_encoder="facebook/contriever-msmarco",
    passage_encoder="facebook/contriever-msmarco",
    generator="meta-llama/Llama-3.2-3B",
    quantize="nf4",
    index="IVF4096,Flat",
    search_parameters="nprobe=128",
    n_passages=1_000_000,
)

# Lewis et al. start from DPR and BART-large. The main branches of these repositories hold pickled weights only; the
# revisions are the hub's own conversions to safetensors, open pull requests, whose lists of files were read but which
# have not been downloaded by us. DPR's license is CC BY-NC 4.0. The paper's DPR was trained on NQ and TriviaQA; this
# one, as that of the RAG models released with transformers, on NQ alone.
DPR_AND_BART = Sources(
    dataset="google-research-datasets/nq_open+facebook/wiki_dpr",
    question_encoder="facebook/dpr-question_encoder-single-nq-base@refs/pr/2",
    passage_encoder="facebook/dpr-ctx_encoder-single-nq-base@refs/pr/3",
    generator="facebook/bart-large@4422181a85458e2acc57a4c1f845b9dfd60bd411",
)

# Parameters that every notebook may have, and the fields that they set.
PARAMETERS = {
    "dataset": ("sources.dataset",),
    "generator": ("sources.generator",),
    "encoder": ("sources.question_encoder", "sources.passage_encoder"),
}
