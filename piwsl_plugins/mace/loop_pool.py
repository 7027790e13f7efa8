"""The pool of a training with MACE in a loop of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms
from mace import data
from mace.tools import AtomicNumberTable
from mace.tools.torch_geometric.batch import Batch
from mace.tools.torch_tools import default_dtype

from ..errors import InputError, SettingsError
from ..frames.entries import Entry
from ..frames.pool_checks import look_through
from ..frames.reading import read_atoms
from ..terms.pool import Pool
from ..terms.term_table import weights_of
from .arguments import MaceSettings
from .files import problem_of_config
from .labels import labels_of
from .lazy_files import disregard_missing
from .pool import is_reference, labels_under_other_keys
from .tables import energy_of, entry_of


class LoopPool:
    """Frames as a pool: looked through first, then trained on.

    Attributes:
        entries: what they are.
        summary: what is in them, for the log.
    """

    def __init__(
        self,
        settings: MaceSettings,
        given: Sequence[Atoms] | None,
        model: Any,
        heads: Sequence[str],
        keys: data.KeySpecification,
        read: Sequence[str],
        training: Sequence[Entry],
    ) -> None:
        """
        Args:
            settings: name the file.
            given: frames in place of a file.
            model: of MACE.
            heads: those that carry terms; frames belong to the first.
            keys: names of the labels in the frames.
            read: labels that the loss reads.
            training: the training structures.

        Raises:
            SettingsError: naming ``pool_file`` and the frame.
        """
        self._settings, self._path = settings, str(settings.pool.pool_file)
        self._numbers = [int(z) for z in model.atomic_numbers]
        self._cutoff, self._dtype = float(model.r_max), next(model.parameters()).dtype
        head, self._heads = heads[0], list(getattr(model, "heads", None) or ["Default"])
        frames = read_atoms(self._path, "pool_file") if given is None else list(given)
        judged = read if settings.pool.pool_weight else ()
        self._configs, self.entries = [], []
        for number, atoms in enumerate(frames):
            config = data.config_from_atoms(atoms, key_specification=keys, head_name=head)
            if is_reference(config):
                continue
            problem = problem_of_config(config, judged)
            if problem:
                raise self._refused(f"frame {number} (from 0): {problem}")
            disregard_missing(config)
            labels, energy = labels_of(config, read), energy_of(config)
            try:
                entry = entry_of(config, "the pool", number, labels, energy=energy)
            except InputError as error:
                raise self._refused(str(error)) from error
            self._configs.append(config)
            self.entries.append(entry)
        energies = bool(settings.pool.pool_weight) and len(self._heads) == 1
        self.summary = look_through(self._path, self.entries, self._numbers, (), training, energies)
        supervised = settings.pool.pool_weight and any(entry.labels for entry in self.entries)
        others = labels_under_other_keys(frames[0])
        if settings.pool.pool_weight and not supervised and (others or not weights_of(settings)):
            names = {**keys.info_keys, **keys.arrays_keys}
            sought = " or ".join(repr(names[name]) for name in read)
            remedy = f"the frames have {others}; " if others else ""
            raise self._refused(
                f"no frame has a label that the loss reads ({sought}), so that nothing would be "
                f"learned from it: {remedy}name the labels with key_specification, give a term a "
                "weight, or set pool_weight to 0"
            )
        if len(self._heads) > 1:
            self.summary += f"; they are of the head '{head}'"

    def _refused(self, problem: str) -> SettingsError:
        return SettingsError("pool_file", self._path, problem)

    def pool(self) -> Pool:
        """The structures, dealt to ranks."""
        table = AtomicNumberTable(self._numbers)
        with default_dtype(self._dtype):
            dataset = [
                data.AtomicData.from_config(
                    config, z_table=table, cutoff=self._cutoff, heads=self._heads
                )
                for config in self._configs
            ]
        return Pool.of_ranks(self._settings, dataset, Batch.from_data_list)
