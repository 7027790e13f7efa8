"""Small MACE models in the forms in which users have them."""

import numpy as np
import torch
from e3nn import o3
from e3nn.util import jit
from mace import modules

from ..mace_models import build_once

#: as --embedding_specs of mace_run_train
EMBEDDINGS = {
    name: {"type": "categorical", "per": "graph", "num_classes": 9, "emb_dim": 4, "offset": 3}
    for name in ("total_charge", "total_spin")
}


def _saved(kind, path, elements, seed, irreps, **others):
    """A random model of two layers in float64, saved to a file."""
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    with default_double():
        torch.manual_seed(seed)
        model = build_once(
            kind,
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(irreps),
            MLP_irreps=o3.Irreps("4x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(elements)),
            avg_num_neighbors=5.0,
            atomic_numbers=list(elements),
            correlation=2,
            **others,
        )
        torch.save(model, path)
    return model


def tiny_model(path, elements=(1, 6, 8), seed=0, irreps="4x0e", **others):
    """Of energies; gives its file."""
    scale = {"atomic_inter_scale": 1.0, "atomic_inter_shift": 0.0}
    _saved(modules.ScaleShiftMACE, path, elements, seed, irreps, **scale, **others)
    return path


def dipole_model(path, irreps="4x0e+4x1o"):
    """Of energies and dipoles; gives the model."""
    return _saved(modules.EnergyDipolesMACE, path, (1, 6, 8), 0, irreps)


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
