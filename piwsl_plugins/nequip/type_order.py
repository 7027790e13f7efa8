"""Whether the data numbers the types of atoms as the model does."""

from __future__ import annotations

from typing import Any

from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

from .config import DataError
from .data import Datasets
from .frames import sources_of


def check_type_order(datasets: Datasets, model: Any) -> None:
    """Refuse data in which a type has the number of another one of the model.

    NequIP 0.19 passes numbers alone from ``ChemicalSpeciesToAtomTypeMapper`` to the model, so that
    names in another order, as beside a checkpoint, exchange elements without an error.

    Args:
        datasets: of all splits.
        model: NequIP's.

    Raises:
        DataError: naming the data and both orders.
    """
    names = list(model.type_names)
    for name, dataset in (named for split in datasets.values() for named in split):
        for source in sources_of(dataset):
            for transform in getattr(source, "transforms", ()):
                if not isinstance(transform, ChemicalSpeciesToAtomTypeMapper):
                    continue
                given = list(transform.model_type_names)
                if given != names[: len(given)]:  # the first of them have the same numbers
                    raise DataError(
                        f"{name}: model_type_names of ChemicalSpeciesToAtomTypeMapper are "
                        f"[{', '.join(given)}], those of the model [{', '.join(names)}]; NequIP "
                        "would take one element for another; give the names of the model, in its "
                        "order"
                    )
