"""Whether a model computes the forces that a training needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import SettingsError
from ..terms.terms import Term

if TYPE_CHECKING:
    from .loss import PIWSLLoss

#: options by which training does without forces, by term
_ON_ENERGIES = {
    "pitc": ", or choose consistency_form: symmetric",
    "hessian": ", or choose hessian_form: energies",
}


def check_derivatives(
    models: Mapping[str, torch.nn.Module], loss: PIWSLLoss, terms: Sequence[Term]
) -> None:
    """Refuse models without forces where these are needed.

    NequIP's ``ForceStressOutput`` says it by ``do_derivatives`` (``nequip/nn``); of models without
    such a module nothing is known.

    Args:
        models: of the training module.
        loss: of the training.
        terms: with a weight.

    Raises:
        SettingsError: naming what needs forces, and the remedy.
    """
    for model in models.values():
        modules = list(model.modules())
        switches = [m.do_derivatives for m in modules if hasattr(m, "do_derivatives")]
        if switches and not any(switches):
            _refuse(loss, terms)


def _refuse(loss: PIWSLLoss, terms: Sequence[Term]) -> None:
    without = "the model computes none (do_derivatives: false); build it with do_derivatives: true"
    held_out = loss.settings.hessian.hessian_valid_file
    if held_out is not None:
        raise SettingsError(
            "hessian_valid_file",
            held_out,
            f"the error of its Hessians needs forces, and {without}, or leave the file out",
        )
    for term in terms:
        if term.forces_at:
            other = _ON_ENERGIES.get(term.name, "")
            name = f"{term.name}_weight"
            raise SettingsError(
                name, loss.settings.values()[name], f"it needs forces, and {without}{other}"
            )
    if loss.base_uses_forces:
        raise SettingsError(
            "coeffs",
            loss.supervised,
            f"they need forces, and {without}, or leave out all but total_energy",
        )
