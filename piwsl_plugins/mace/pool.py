"""The pool of unlabelled structures as MACE batches."""

from __future__ import annotations

from typing import Any

import torch
from ase.data import chemical_symbols
from mace import data
from mace.tools import torch_geometric

from ..core.pool import choose, read_pool
from ..core.settings import Settings, SettingsError
from . import arguments
from .transforms import Batch


def read_structures(settings: Settings, elements: list[int]) -> list[Any]:
    """The structures of ``--piwsl_unlabeled_file``; a wrong file ends the run.

    Args:
        settings: names the file.
        elements: atomic numbers that the trained model knows.
    """
    name = f"--piwsl_unlabeled_file={settings.unlabeled_file}"
    needs = settings.needs_labels()
    if needs is not None:
        arguments.fail(
            f"{name}: --piwsl_{needs}={getattr(settings, needs)} needs force labels, which an "
            "unlabelled structure has not; leave one of the two out"
        )
    try:
        frames = read_pool(str(settings.unlabeled_file))
    except SettingsError as error:
        arguments.fail(f"{name}: {error.remedy}")
    found = {int(z) for atoms in frames for z in atoms.numbers}
    unknown = sorted(found - {int(z) for z in elements})
    if unknown:
        arguments.fail(
            f"{name}: it holds {', '.join(chemical_symbols[z] for z in unknown)}, but the model "
            f"knows {', '.join(chemical_symbols[int(z)] for z in elements)} only, the elements of "
            "the training data; remove these structures from the file"
        )
    return frames


class Pool:
    """Unlabelled structures, some of which go with each batch."""

    def __init__(self, structures: list[Any]) -> None:
        """Args: structures: MACE's AtomicData, each of two atoms or more."""
        self.structures = structures

    @classmethod
    def of_frames(
        cls, frames: list[Any], head_config: Any, heads: list[str], z_table: Any, r_max: float
    ) -> Pool:
        """The pool made into what MACE's training structures are.

        Args:
            frames: ``ase.Atoms``.
            head_config: MACE's configuration of the head that the structures get.
            heads: all heads of the run.
            z_table: MACE's table of the elements.
            r_max: cutoff of the model in Å.
        """
        configs = [
            data.config_from_atoms(
                atoms,
                key_specification=head_config.key_specification,
                head_name=head_config.head_name,
            )
            for atoms in frames
        ]
        return cls(
            [
                data.AtomicData.from_config(config, z_table=z_table, cutoff=r_max, heads=heads)
                for config in configs
            ]
        )

    def batch(self, settings: Settings, step: int, like: Batch) -> Batch:
        """The structures of a training step on this rank.

        Args:
            settings: ``unlabeled_per_batch`` and ``seed`` are used.
            step: optimiser step, from 0.
            like: the trainer's batch; gives device, precision and keys.
        """
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        chosen = choose(
            len(self.structures),
            settings.unlabeled_per_batch,
            settings.seed or 0,
            step,
            torch.distributed.get_rank() if distributed else 0,
            torch.distributed.get_world_size() if distributed else 1,
        )
        structures = [self.structures[index] for index in chosen]
        collated = torch_geometric.batch.Batch.from_data_list(structures).to_dict()
        device = like["positions"].device
        return {
            key: value.to(device)
            for key, value in collated.items()
            if isinstance(value, torch.Tensor) and key in like
        }
