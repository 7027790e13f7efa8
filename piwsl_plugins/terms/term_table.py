"""Which terms a run has."""

from __future__ import annotations

from ..labels.hessian_lookup import HessianLabels
from ..options.settings import Hessian, Settings
from .hessian_terms import HessianDisplacements, HessianEnergies, HessianForces
from .penalties import Penalty
from .terms import PISC, PITC, ConsistencyDisplacements, Term


def terms_of(
    settings: Settings, labels: HessianLabels | None = None, penalty: Penalty | None = None
) -> list[Term]:
    """The terms with a weight.

    Args:
        settings: decided (:meth:`Settings.decided`).
        labels: Hessian labels, if there is a weight on them.
        penalty: of their errors, by default squares.
    """
    terms: list[Term] = []
    displacer = ConsistencyDisplacements(settings.consistency)
    if settings.consistency.pitc_weight:
        terms.append(PITC(displacer))
    if settings.consistency.pisc_weight:
        terms.append(PISC(displacer))
    if settings.hessian.hessian_weight and labels is not None:
        terms.append(hessian_term(settings.hessian, labels, penalty))
    return terms


def hessian_term(options: Hessian, labels: HessianLabels, penalty: Penalty | None = None) -> Term:
    """Hessian labels as a term, in the form that the options say."""
    form = HessianEnergies if options.hessian_form == "energies" else HessianForces
    return form(HessianDisplacements(options, labels), penalty)


def weights_of(settings: Settings) -> dict[str, float]:
    """Weight of each term by its name, of those that have one."""
    weights = {
        PITC.name: settings.consistency.pitc_weight,
        PISC.name: settings.consistency.pisc_weight,
        HessianForces.name: settings.hessian.hessian_weight,
    }
    return {name: weight for name, weight in weights.items() if weight}


def supervises_pool(settings: Settings) -> bool:
    """Whether there is a pool whose labels have a weight."""
    return settings.pool.pool_file is not None and settings.pool.pool_weight > 0.0


def acts(settings: Settings) -> bool:
    """Whether any term has a weight, or the labels of a pool."""
    return bool(weights_of(settings)) or supervises_pool(settings)
