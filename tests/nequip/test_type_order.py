"""Data that numbers its types otherwise than the model is refused: elements are exchanged."""

import pytest
from nequip.data.dataset import ASEDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from torch.utils.data import ConcatDataset

from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.type_order import check_type_order

from .conftest import NEQUIP_MODEL, TYPE_NAMES


def dataset(names):
    return ASEDataset(
        "train.xyz", [ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(3.0)]
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_types_in_another_order_than_the_models_are_refused(split, ethanol):
    options = {key: value for key, value in NEQUIP_MODEL.items() if key != "_target_"}
    model = NequIPGNNModel(**options)
    right, wrong = dataset(TYPE_NAMES), dataset(TYPE_NAMES[::-1])
    # what NequIP makes of it: carbon (first in the file) is not the model's first type
    assert right[0]["atom_types"].flatten()[0] != wrong[0]["atom_types"].flatten()[0]
    check_type_order({split: [("data", right)]}, model)
    with pytest.raises(DataError, match=r"data: model_type_names .*one element for another"):
        check_type_order({split: [("data", ConcatDataset([right, wrong]))]}, model)
