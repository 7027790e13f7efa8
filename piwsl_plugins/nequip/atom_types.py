"""Whether the data gives atoms the types that the model knows them by."""

from __future__ import annotations

from typing import Any

from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

from .config import DataError
from .data import Datasets
from .frames import sources_of


def check_atom_types(datasets: Datasets, model: Any) -> None:
    """Refuse data whose types are numbered otherwise than the model's.

    A model is told numbers of types alone: in another order, one element would be taken for
    another. So it is with a pretrained model that brings its own order (``ModelFromCheckpoint`` of
    NequIP 0.19, nequip/model/saved_models), which NequIP does not compare.

    Args:
        datasets: of the datamodule.
        model: NequIP's.

    Raises:
        DataError: naming the data, both lists and the remedy.
    """
    names = list(model.type_names)
    for name, dataset in (one for split in datasets.values() for one in split):
        for source in sources_of(dataset):
            for transform in getattr(source, "transforms", ()):
                if not isinstance(transform, ChemicalSpeciesToAtomTypeMapper):
                    continue
                given = list(transform.model_type_names)
                if given != names[: len(given)]:
                    raise DataError(
                        f"{name}: its types are {', '.join(given)} in this order, the model's "
                        f"{', '.join(names)}, so that it would take one element for another; give "
                        "the data's ChemicalSpeciesToAtomTypeMapper model_type_names: "
                        f"[{', '.join(names)}]"
                    )
