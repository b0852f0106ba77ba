"""Int8 matrix products: weights of 8 bits, for inference on a processor.

Weights are rounded to 255 steps for each output, and a row of activations to 127 steps between its own largest values.
127 and not 255: processors without VNNI add two products in 16 bits, which would overflow; so the same numbers come out
of every processor. Integers are added up exactly: what a row gives depends, to the bit, on nothing but the row.

Letters: O outputs, I inputs, X rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtmoe.errors import UserError
from mtmoe.model.ops.rows import with_common_number_of_rows

_WEIGHT_STEPS, _INPUT_STEPS = 127, 63  # on each side of 0
_ZERO = 64  # what stands for 0: the library's activations have no sign
_USUAL_ROWS = 64  # for which weights are laid out; without it they would be laid out anew each time
_TINY = 1e-30


class Int8Matrix:
    """``W x`` of every row x, for weights W of [O outputs, I inputs]. It can be neither copied nor pickled."""

    def __init__(self, weights_OI: Tensor) -> None:
        """Round the weights to 8 bits.

        Raises:
            UserError: the weights are not on a CPU, or torch was built without oneDNN.
        """
        if weights_OI.device.type != "cpu":
            raise UserError(f"int8 is for CPUs, and this is {weights_OI.device.type}", fix="take fp32 or bf16")
        if not torch.backends.mkldnn.is_available():
            raise UserError("int8 needs oneDNN, without which this torch was built", fix="take fp32")
        weights_OI = weights_OI.detach().float()
        self._scale_O = weights_OI.abs().amax(1).div_(_WEIGHT_STEPS).clamp_(min=_TINY)
        rounded_OI = weights_OI.div(self._scale_O[:, None]).round_().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded_OI, [_USUAL_ROWS, weights_OI.shape[1]])
        self._zeros_O = torch.zeros(len(weights_OI), dtype=torch.int64)

    def product(self, x_XI: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """Compute [X, I] -> [X, O], float32; plus ``bias_O`` (float32) in every row."""
        product_XO, scale_X1 = self._scaled(x_XI)
        return product_XO.mul_(scale_X1) if bias_O is None else torch.addcmul(bias_O, product_XO, scale_X1)

    def written(self, x_XI: Tensor, out: Tensor) -> Tensor:
        """Compute :meth:`product` into memory that is there."""
        return torch.mul(*self._scaled(x_XI), out=out)

    def _scaled(self, x_XI: Tensor) -> tuple[Tensor, Tensor]:
        """Return the product before it is scaled, and the scale of each row."""
        num_rows, x_XI = len(x_XI), x_XI.float()
        scale_X1 = x_XI.abs().amax(1, keepdim=True).div_(_INPUT_STEPS).clamp_(min=_TINY)
        # Conversion cuts off, so that half a step more rounds; to int8, which torch has fast code for.
        steps_XI = x_XI.mul(scale_X1.reciprocal()).add_(_ZERO + 0.5).to(torch.int8).view(torch.uint8)
        product_XO = torch.ops.onednn.qlinear_pointwise(
            with_common_number_of_rows(steps_XI),
            1.0, _ZERO, self._packed, self._scale_O, self._zeros_O, None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product_XO[:num_rows], scale_X1
