"""Run directory and checkpoints: what lies where, how it is written, read, averaged and exported.

::

    RUN/recipe.toml                      the fully resolved recipe
    RUN/subwords.model                   the vocabulary, frozen with the weights (words.txt: one of words)
    RUN/lexicon.safetensors              likely target subwords of each source subword, for decoding.shortlist
    RUN/manifest.json                    SHA-256 of the vocabulary and the lexicon, checked at loading; the start run
    RUN/confidence.json                  calibration of the confidence of translations, if there is one
    RUN/fast_decoding.json               settings that translate faster, if the dev set could tell
    RUN/metrics.jsonl                    one JSON object a line
    RUN/data                             the prepared text, or a link to it
    RUN/.launch                          the torchrun job that has begun or resumed it (distributed/launch.py)
    RUN/checkpoints/step-00001000/       model.safetensors   weights to translate with (the average if there is one)
                                         training.safetensors  raw weights, moments and the LSTMs' state, to resume with
                                         state.json          step, data position, best values, digests of the tensors
    RUN/checkpoints/step-00001000/       of several processes: model/ and training/ with the shards of each, state.json
    RUN/checkpoints/averaged-.../        model.safetensors and state.json, made by ``mtmoe average``

A checkpoint is written into a hidden directory, synced, and renamed: one that has its name is complete, and
what a crash leaves behind has another name and is removed at the next save. Nothing is ever unpickled.

Models to translate or score with are read through :mod:`.model_source`: of a run directory, or of a package, which is
one file (:mod:`.packages`).
"""

from mtmoe.checkpoint.averaging import average_checkpoints
from mtmoe.checkpoint.export import export_weights
from mtmoe.checkpoint.loading import (
    LoadedLanguageModel,
    LoadedRun,
    load_language_model,
    load_model,
    load_weights,
)
from mtmoe.checkpoint.model_source import ModelSource, open_model
from mtmoe.checkpoint.reading import (
    find_checkpoint,
    find_checkpoints,
    last_checkpoint,
    list_checkpoints,
    list_steps,
    load_state,
    load_training,
    mean_weights,
    read_own_weights,
    read_tensors,
    read_weights,
    stored_digest,
    weights_digest,
)
from mtmoe.checkpoint.run_files import (
    FORMAT_VERSION,
    Checkpoint,
    RunFiles,
    belongs_to_launch,
    check_file,
    create_run,
    load_manifest,
    load_run_recipe,
    locked_run,
    open_run,
    save_launch,
    save_recipe,
)
from mtmoe.checkpoint.run_state import (
    CheckpointState,
    ExpertUsageState,
    LayerUsageState,
    LossScale,
    OptimizerState,
    StartRecord,
    SurgeryRecord,
    TeacherRecord,
    TrainingState,
    WindowState,
)
from mtmoe.checkpoint.writing import (
    remove_unfinished,
    retain,
    save_checkpoint,
    save_sharded_checkpoint,
    save_weights_alone,
)

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "CheckpointState",
    "ExpertUsageState",
    "LayerUsageState",
    "LoadedLanguageModel",
    "LoadedRun",
    "LossScale",
    "ModelSource",
    "OptimizerState",
    "RunFiles",
    "StartRecord",
    "SurgeryRecord",
    "TeacherRecord",
    "TrainingState",
    "WindowState",
    "average_checkpoints",
    "belongs_to_launch",
    "check_file",
    "create_run",
    "export_weights",
    "find_checkpoint",
    "find_checkpoints",
    "last_checkpoint",
    "list_checkpoints",
    "list_steps",
    "load_language_model",
    "load_manifest",
    "load_model",
    "load_run_recipe",
    "load_state",
    "load_training",
    "load_weights",
    "locked_run",
    "mean_weights",
    "open_model",
    "open_run",
    "read_own_weights",
    "read_tensors",
    "read_weights",
    "remove_unfinished",
    "retain",
    "save_checkpoint",
    "save_launch",
    "save_recipe",
    "save_sharded_checkpoint",
    "save_weights_alone",
    "stored_digest",
    "weights_digest",
]
