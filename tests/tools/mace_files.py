"""Small MACE models in the forms in which users have them."""

import torch
from e3nn.util import jit

from .report.test_mace_models import tiny_model

#: as --embedding_specs of mace_run_train
EMBEDDINGS = {
    name: {"type": "categorical", "per": "graph", "num_classes": 9, "emb_dim": 4, "offset": 3}
    for name in ("total_charge", "total_spin")
}


def embedded_model(path):
    """Told charge and spin."""
    return tiny_model(path, embedding_specs=EMBEDDINGS)


def compiled_model(path):
    """As ``mace_run_train`` writes it beside the model."""
    with default_double():
        model = torch.load(tiny_model(path.with_suffix(".eager")), weights_only=False)
        torch.jit.save(jit.compile(model), path)
    return path


def lammps_models(path):
    """As ``mace_create_lammps_model`` writes them: compiled, and for ML-IAP."""
    from mace.calculators import LAMMPS_MACE
    from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

    eager = tiny_model(path.with_suffix(".eager"))
    compiled, pickled = path.with_suffix(".compiled.pt"), path.with_suffix(".mliap.pt")
    with default_double():
        model = torch.load(eager, weights_only=False)
        torch.jit.save(jit.compile(LAMMPS_MACE(model)), compiled)
        torch.save(LAMMPS_MLIAP_MACE(torch.load(eager, weights_only=False)), pickled)
    return compiled, pickled


class default_double:
    """Double precision for what is made within."""

    def __enter__(self):
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_):
        torch.set_default_dtype(self._before)
