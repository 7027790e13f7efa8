"""The pool of structures without labels, as NequIP's frames."""

from __future__ import annotations

import ase
import torch
from nequip.data import AtomicDataDict, from_ase

from ..core.pool import choose, read_pool
from ..core.settings import Settings, SettingsError


class Pool:
    """Frames that carry PIWSL terms alone.

    Attributes:
        frames: the structures, without neighbour lists, which are made after displacing.
    """

    def __init__(
        self, settings: Settings, type_names: list[str], seed: int, rank: int = 0, n_ranks: int = 1
    ) -> None:
        """
        Args:
            settings: ``unlabeled_file`` and ``unlabeled_per_batch`` are used.
            type_names: of the trained model, element symbols.
            seed: of the order of the structures.
            rank: this process' rank.
            n_ranks: number of ranks.

        Raises:
            SettingsError: naming ``unlabeled_file``, if it cannot be used, or holds an element
                that the model does not know.
        """
        assert settings.unlabeled_file is not None
        self.frames = [
            _as_frame(atoms, type_names, settings.unlabeled_file)
            for atoms in read_pool(settings.unlabeled_file)
        ]
        self._per_batch, self._seed = settings.unlabeled_per_batch, seed
        self._rank, self._n_ranks = rank, n_ranks

    def batch(self, number: int, device: torch.device) -> AtomicDataDict.Type:
        """The structures that go with a training batch.

        Args:
            number: of the batch since the start of training, from 0.
            device: of the batch.
        """
        chosen = choose(
            len(self.frames), self._per_batch, self._seed, number, self._rank, self._n_ranks
        )
        frames = [self.frames[index] for index in chosen]
        return AtomicDataDict.to_(AtomicDataDict.batched_from_list(frames), device)


def _as_frame(atoms: ase.Atoms, type_names: list[str], path: str) -> AtomicDataDict.Type:
    symbols = atoms.get_chemical_symbols()
    for symbol in symbols:
        if symbol not in type_names:
            raise SettingsError(
                "unlabeled_file",
                path,
                f"it holds the element {symbol}, but the model's types are "
                f"{', '.join(type_names)}; leave such structures out",
            )
    # without any label that the file may hold
    frame = from_ase(ase.Atoms(symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    types = [type_names.index(symbol) for symbol in symbols]
    return AtomicDataDict.with_batch_({**frame, "atom_types": torch.tensor(types)})
