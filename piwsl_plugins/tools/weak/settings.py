"""How weak labels are made: every choice with its default."""

from __future__ import annotations

import dataclasses

from ...options.option import option
from ..states import StateNames

#: the stages in order, each with what it leaves in the folder
STAGES = {
    "cheap": "labels of the cheap method",
    "correction": "files to train the corrections on",
    "train": "correction models",
    "labels": "weak labels",
}


@dataclasses.dataclass(frozen=True)
class WeakSettings(StateNames):
    """Choices of one run, by which its folder is recognised; each says what it is."""

    models: int = option(
        3,
        "correction models: their mean is the correction, their spread says how far to trust it; "
        "0: the labels of the cheap method alone, as for distillation",
        kind=int,
        minimum=0,
        maximum=100,
    )
    held_out: int = option(
        0,
        "training frames that each model does not see, others for each; they are its validation "
        "file and measure its error; 0: a tenth of the frames, at least 1",
        kind=int,
        minimum=0,
    )
    seed: int = option(
        0, "draws the held-out frames; model k is trained with seed + k", kind=int, minimum=0
    )
    energy_key: str = option("REF_energy", "energy (eV) in all files, read and written", kind=str)
    forces_key: str = option("REF_forces", "forces (eV/Å)", kind=str)
    stress_key: str = option("REF_stress", "stress (eV/Å³, ASE's sign)", kind=str)
