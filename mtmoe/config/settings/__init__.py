"""The settings of a recipe: each states its type, default, sentence and range here and nowhere else.

One file a table. A table that is absent is a feature that is off. ``recipe_reading.py`` reads recipes and words the
messages.
"""

from mtmoe.config.settings.about import About, Result
from mtmoe.config.settings.augmentation import Augmentation
from mtmoe.config.settings.base import MOST_BEAM, MOST_VOCABULARY, MOST_WIDTH, Fraction, Settings, Sha256
from mtmoe.config.settings.curriculum import WeightChange
from mtmoe.config.settings.data import (
    Cleaning,
    Data,
    FileLocation,
    HeldOut,
    HuggingFaceSource,
    JsonLinesSource,
    LinesSource,
    Multilingual,
    Replay,
    SacrebleuSource,
    Source,
    TextSource,
    TmxSource,
    TsvSource,
)
from mtmoe.config.settings.decoding import (
    MOST_CANDIDATES,
    Decoding,
    DiverseBeams,
    LanguageModelFusion,
    MinimumBayesRisk,
    Reranking,
    Sampling,
    Shortlist,
)
from mtmoe.config.settings.distillation import Distillation
from mtmoe.config.settings.model import Hierarchy, MixtureOfExpertsSettings, Model
from mtmoe.config.settings.recipe import Recipe
from mtmoe.config.settings.scoring import DynamicEvaluation, NeuralCache, Scoring
from mtmoe.config.settings.start import Interpolation, Start
from mtmoe.config.settings.subwords import Subwords, SubwordSampling
from mtmoe.config.settings.training import (
    Consistency,
    Distributed,
    EarlyStopping,
    Ema,
    GuidedAlignment,
    SampledSoftmax,
    Schedule,
    Training,
    Validation,
)

__all__ = [
    "MOST_BEAM",
    "MOST_CANDIDATES",
    "MOST_VOCABULARY",
    "MOST_WIDTH",
    "About",
    "Augmentation",
    "Cleaning",
    "Consistency",
    "Data",
    "Decoding",
    "Distillation",
    "Distributed",
    "DiverseBeams",
    "DynamicEvaluation",
    "EarlyStopping",
    "Ema",
    "FileLocation",
    "Fraction",
    "GuidedAlignment",
    "HeldOut",
    "Hierarchy",
    "HuggingFaceSource",
    "Interpolation",
    "JsonLinesSource",
    "LanguageModelFusion",
    "LinesSource",
    "MinimumBayesRisk",
    "MixtureOfExpertsSettings",
    "Model",
    "Multilingual",
    "NeuralCache",
    "Recipe",
    "Replay",
    "Reranking",
    "Result",
    "SacrebleuSource",
    "SampledSoftmax",
    "Sampling",
    "Schedule",
    "Scoring",
    "Settings",
    "Sha256",
    "Shortlist",
    "Source",
    "Start",
    "SubwordSampling",
    "Subwords",
    "TextSource",
    "TmxSource",
    "Training",
    "TsvSource",
    "Validation",
    "WeightChange",
]
