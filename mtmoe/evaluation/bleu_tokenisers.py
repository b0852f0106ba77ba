"""Tokenisers of BLEU: whether those that languages need are installed, with their dictionaries and models."""

from __future__ import annotations

import shlex
from pathlib import Path

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from mtmoe.errors import UserError
from mtmoe.languages import Tokeniser

ANOTHER_TOKENISER = "--set training.validation.bleu_tokeniser=char"
"""How a training takes another one, for :func:`check_tokeniser`."""


def check_tokeniser(tokeniser: Tokeniser, *, another: str = "") -> None:
    """Find out whether a tokeniser is installed, with its dictionary or model; nothing is fetched.

    Args:
        another: how another one is chosen, for the message, such as ``--tokeniser char``.

    Raises:
        UserError: it is not.
    """
    or_another = f"; or choose another tokeniser: {another}" if another else ""
    if (found := SPM_MODELS.get(tokeniser)) is not None:
        model = Path(SACREBLEU_DIR) / "models" / Path(found["url"]).name
        if not model.is_file():
            raise UserError(
                f"sacreBLEU's tokeniser {tokeniser} needs a model that is not there: {model}",
                fix=f"curl --location --create-dirs --output {shlex.quote(str(model))} {found['url']}{or_another}",
            )
    try:
        BLEU(tokenize=tokeniser)
    except (ImportError, RuntimeError):
        raise UserError(
            f"sacreBLEU's tokeniser {tokeniser} is not installed",
            fix=f"pip install 'sacrebleu[{tokeniser.partition('-')[0]}]'{or_another}",
        ) from None
    except Exception as error:  # a dictionary or a model that is damaged or of another kind
        raise UserError(
            f"sacreBLEU's tokeniser {tokeniser} cannot be used: {' '.join(str(error).split())}",
            fix=f"install it again{or_another}",
        ) from None
