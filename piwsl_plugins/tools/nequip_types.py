"""Which of a NequIP model's types each element has, as its training data says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MAPPER = "ChemicalSpeciesToAtomTypeMapper"


def types_of_elements(path: str) -> dict[str, str] | None:
    """Type name by element symbol, as in the training of a saved model.

    Type names that are symbols of elements that the training data does not map stand for these.

    Args:
        path: of a checkpoint, or of a package of ``nequip-package``, both of which hold the
            config of the data.

    Returns:
        the types, or None where none are said, or some parts of the data say others.
    """
    from ase.data import atomic_numbers

    found: list[dict[str, str]] = []
    for mapper in _mappers(_data_config(path)):
        names = mapper.get("model_type_names") or ()
        same = {name: name for name in names if name in atomic_numbers}
        given = same | (mapper.get("chemical_species_to_atom_type_map") or {})
        if given and given not in found:
            found.append(given)
    return found[0] if len(found) == 1 else None


def _data_config(path: str) -> Any:
    """Section "data" of the config of a training by ``nequip-train``; else None."""
    import torch

    if path.endswith(".nequip.zip"):
        import yaml
        from torch.package.package_importer import PackageImporter

        # as ``nequip/scripts/package.py`` of NequIP 0.19 stores it
        text = PackageImporter(path).load_text("model", "config.yaml")
        config = yaml.safe_load(text)
    else:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        config = checkpoint.get("hyper_parameters", {}).get("info_dict")
    return (config or {}).get("data")


def _mappers(config: Any) -> Iterator[dict[str, Any]]:
    """The configs of NequIP's transform from elements to types, at any depth."""
    if isinstance(config, dict):
        if str(config.get("_target_")).endswith(_MAPPER):
            yield config
        config = list(config.values())
    for one in config if isinstance(config, list) else ():
        yield from _mappers(one)
