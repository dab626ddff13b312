"""TODO"""

from nbutils.training.adapters import (
    LORA_SCALE,
    LORA_TARGETS,
    is_quantized,
    module_names,
    trainable_encoder,
    trainable_generator,
    trained_parameters,
)
from nbutils.training.checkpoints import SOURCES, load_tensors, read_state, run_folder, write_state
from nbutils.training.end2end import train_end2end
from nbutils.training.fine_tuning import fine_tune
from nbutils.training.launch import carry_out
from nbutils.training.loop import COMPILE_FROM_WORK, Run, run_device, train
from nbutils.training.lsr import train_lsr
from nbutils.training.rag import embed_texts, nearest_passages, rag_gradients, search_with_gradients, train_rag
from nbutils.training.refresh import collect, start_actors, stop_actors, submit
from nbutils.training.settings import (
    MARGINALIZATIONS,
    TOWERS,
    History,
    TrainingSettings,
    batch_rows,
    rate_factor,
    require_answers,
    require_index,
    require_marginal,
    require_settings,
)
