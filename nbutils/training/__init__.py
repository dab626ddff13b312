"""Trainings, one algorithm a file: fine-tuning, RAG, end-to-end RAG and R-ft; each returns a `System`."""

from nbutils.training.adapters import (
    LORA_SCALE,
    LORA_TARGETS,
    trainable_encoder,
    trainable_generator,
    trained_parameters,
)
from nbutils.training.checkpoints import read_state
from nbutils.training.contrastive import train_contrastive
from nbutils.training.embedding import embed_texts, search_with_gradients
from nbutils.training.end2end import End2EndObjective, train_end2end
from nbutils.training.end2end_retriever import End2EndPoolObjective, train_end2end_retriever
from nbutils.training.fine_tuning import FineTuningObjective, fine_tune
from nbutils.training.language_modeling import LanguageModelingObjective, train_on_text
from nbutils.training.loop import Learners
from nbutils.training.lower_layers import LowerLayers, encode_above
from nbutils.training.lsr import train_lsr
from nbutils.training.pool import PoolObjective
from nbutils.training.rag import RagObjective, train_rag
from nbutils.training.rag_loss import RagLoss
from nbutils.training.rag_retriever import train_rag_retriever
from nbutils.training.refresh import collect, start_actors, stop_actors, submit
from nbutils.training.refreshed_index import RefreshedIndex
from nbutils.training.settings import MARGINALIZATIONS, TOWERS, History, TrainingSettings, batch_rows
from nbutils.training.system import System
