"""What is computed of one structure with a calculator: its Hessian, or probes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame
from ..calculators import CalculatorSource
from ..loaded_calculators import LazyCalculator
from .differences import curvatures, force_changes, hessian
from .probes import draw_probes
from .settings import HessianSettings


class Measurement:
    """A function of structures for :func:`piwsl_plugins.tools.labelling.label`."""

    def __init__(
        self,
        source: CalculatorSource,
        elements: Sequence[int],
        settings: HessianSettings,
        device: str = "cpu",
    ) -> None:
        """
        Args:
            source: the calculator.
            elements: atomic numbers of all structures.
            settings: how to measure.
            device: torch device of MACE and NequIP models.
        """
        self._calculator = LazyCalculator(source, elements, device)
        self._settings = settings

    def __call__(self, frame: Frame) -> dict[str, np.ndarray]:
        """The second derivatives of a structure.

        Returns:
            ``hessian`` and its ``asymmetry`` before it was symmetrised (eV/Å²), or
            ``displacements`` with ``force_changes`` or ``curvatures``; shapes and units are those
            of :class:`piwsl_plugins.labels.hessian_labels.HessianLabel`.

        Raises:
            InputError: if the calculator cannot be loaded or does not give what is needed.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        atoms, settings = self._calculator.attached(frame), self._settings
        try:
            if len(atoms) <= settings.max_hessian_atoms and not settings.energies:
                matrix, asymmetry = hessian(atoms, settings.step)
                return {"hessian": matrix, "asymmetry": np.array(asymmetry)}
            displacements = draw_probes(atoms, settings)
            if settings.energies:
                values = {"curvatures": curvatures(atoms, displacements)}
            else:
                values = {"force_changes": force_changes(atoms, displacements)}
            return {"displacements": displacements, **values}
        except PropertyNotImplementedError as error:
            remedy = "" if settings.energies else "; --energies makes probes of energies alone"
            raise InputError(
                f"{self._calculator.source.called} does not give {error}{remedy}"
            ) from error
