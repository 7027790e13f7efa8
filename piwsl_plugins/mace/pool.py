"""The pool as structures of MACE, looked through before training."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols
from mace import data
from mace.tools.scripts_utils import check_path_ase_read, get_config_type_weights
from mace.tools.torch_geometric.batch import Batch

from ..errors import InputError, SettingsError
from ..frames.entries import Entry
from ..frames.pool_checks import look_through
from ..frames.reading import iterate_atoms, read_atoms
from ..terms.pool import Pool
from . import files
from .arguments import MaceSettings
from .ase_names import as_in_the_file
from .ignored_weights import warn_of_weights
from .labels import labels_of
from .lazy_files import STATE, dataset_of, disregard_missing
from .tables import energy_of, entry_of


class PoolFile:
    """The pool's file: to be looked through first, then to be trained on.

    Attributes:
        entries: its structures, without isolated atoms.
    """

    def __init__(
        self, settings: MaceSettings, given: dict[str, Any], head: str, read: Sequence[str]
    ) -> None:
        """
        Args:
            settings: name the file.
            given: the arguments of MACE's ``configure_model`` by name.
            head: of its structures, whose keys and weights MACE reads their labels with.
            read: names of the labels that the base loss reads.

        Raises:
            SettingsError: naming ``pool_file``, for a file that cannot be used.
        """
        self._settings, self._given, self._head = settings, given, head
        self._path = str(settings.pool.pool_file)
        self._heads = {config.head_name: config for config in given["head_configs"]}
        self._in_memory: list[Any] | None = None
        try:
            read_by_ase = check_path_ase_read(self._path)
        except RuntimeError as error:  # a folder without files of structures
            raise SettingsError("pool_file", self._path, str(error)) from error
        # labels that nobody trains on are not judged
        judged = read if settings.pool.pool_weight else ()
        if read_by_ase:
            every = list(enumerate(_read(self._path, self._heads[head], judged)))
            self._in_memory = [config for _, config in every if not is_reference(config)]
            self.entries = self._entries(every, read)
        else:
            try:
                names = (*STATE, *read)
                lazily = files.checked(self._path, names, judged, "looking through the pool")
                self.entries = self._entries(lazily, read)
            except ValueError as error:
                if isinstance(error, SettingsError):
                    raise
                raise SettingsError("pool_file", self._path, str(error)) from error

    def _entries(self, configs: Iterable[tuple[int, Any]], read: Sequence[str]) -> list[Entry]:
        without_E0 = self._without_E0() if self._settings.pool.pool_weight else set()
        entries, n_left_out = [], 0
        for number, config in configs:
            if is_reference(config):
                n_left_out += 1
                continue
            self._check_E0(number, config, without_E0)
            labels, energy = labels_of(config, read), energy_of(config)
            try:
                entries.append(entry_of(config, "the pool", number, labels, energy=energy))
            except InputError as error:
                raise SettingsError("pool_file", self._path, str(error)) from error
        if n_left_out and not entries:
            raise SettingsError(
                "pool_file",
                self._path,
                f"all of its {n_left_out} frames are isolated atoms (config_type IsolatedAtom), on "
                "which MACE trains no model; they belong into the training file, or into --E0s",
            )
        return entries

    def look_through(
        self,
        held_out: Sequence[Entry],
        training: Sequence[Entry],
        energies: bool,
        weighed: frozenset[str],
        terms: bool,
    ) -> None:
        """Look at its structures beside others, and log what they are.

        Args:
            held_out: validation and test data.
            training: the training data.
            energies: whether its energies must be of their scale.
            weighed: names of the labels that enter the base loss with a weight.
            terms: whether PIWSL terms act, for which it needs no labels.

        Raises:
            SettingsError: naming ``pool_file``, if it cannot be used.
        """
        elements = self._given["z_table"].zs
        summary = look_through(self._path, self.entries, elements, held_out, training, energies)
        if self._settings.pool.pool_weight:
            self._check_labels(weighed, terms)
        logging.info(summary)
        per_batch = min(self._settings.pool.pool_per_batch, len(self.entries))
        logging.info(f"PIWSL: {per_batch} of them with each batch, as of head '{self._head}'")

    def _check_labels(self, weighed: frozenset[str], terms: bool) -> None:
        """Refuse a pool to be supervised without labels, but for one that is made for the terms."""
        if not weighed or any(entry.labels & weighed for entry in self.entries):
            return
        keys = keys_of(self._heads[self._head], weighed)
        under_others = (
            ""
            if self._in_memory is None
            else labels_under_other_keys(next(iter(iterate_atoms(Path(self._path)))))
        )
        if terms and not under_others:
            return
        remedy = (
            f"the frames have {under_others}; name them with these options"
            if under_others
            else "give labels, or a term a weight (--piwsl_pitc_weight, --piwsl_hessian_file)"
        )
        raise SettingsError(
            "pool_file",
            self._path,
            f"no frame has a label that the base loss reads ({keys}), so that nothing would be "
            f"learned from it: {remedy}, or train without its labels (--piwsl_pool_weight=0)",
        )

    def _without_E0(self) -> set[int]:
        """Elements of other heads' data alone, for which MACE 0.3.16 takes an E0 of 0 eV.

        It fills them in (``dict_to_array`` in mace/tools/scripts_utils.py) where neither data nor
        ``--E0s`` of a head have them.
        """
        energies = self._given["atomic_energies"][self._given["heads"].index(self._head)]
        by_element = zip(self._given["z_table"].zs, energies, strict=False)
        known = self._heads[self._head].z_table.zs
        return {int(z) for z, energy in by_element if energy == 0.0 and z not in known}

    def _check_E0(self, number: int, config: Any, without_E0: set[int]) -> None:
        lacking = without_E0.intersection(config.atomic_numbers.tolist()) if without_E0 else ()
        if lacking and config.properties.get("energy") is not None:
            symbols = ", ".join(chemical_symbols[z] for z in sorted(lacking))
            raise SettingsError(
                "pool_file",
                self._path,
                f"frame {number} (from 0) has an energy, but head '{self._head}', to which the "
                f"pool belongs, has no E0 of {symbols}; add it to the E0s of this head, or remove "
                "the energies of such frames",
            )

    def pool(self) -> Pool:
        """Its structures, dealt to ranks and loader workers."""
        args, heads, z_table = (self._given[name] for name in ("args", "heads", "z_table"))
        dataset: Any = (
            dataset_of(self._path, args.r_max, z_table, heads, self._head)
            if self._in_memory is None
            else [
                data.AtomicData.from_config(one, z_table=z_table, cutoff=args.r_max, heads=heads)
                for one in self._in_memory
            ]
        )
        if self._settings.pool.pool_weight:
            warn_of_weights(args.loss, [dataset], "the pool")
        return Pool.of_ranks(self._settings, dataset, Batch.from_data_list, args.num_workers)


def keys_of(head: Any, names: Iterable[str]) -> str:
    """Under which keys a head's labels are read, in words."""
    keys: Mapping[str, str] = {
        **head.key_specification.info_keys,
        **head.key_specification.arrays_keys,
    }
    return ", ".join(f"--{name}_key={keys.get(name)}" for name in sorted(names))


def _read(path: str, head: Any, judged: Sequence[str]) -> Iterator[Any]:
    """The configurations of a file that ASE reads, with labels, of which some are judged.

    Raises:
        SettingsError: naming ``pool_file`` and the frame.
    """
    load = inspect.unwrap(data.utils.load_from_xyz)  # without our hook, which judges training data
    try:
        with as_in_the_file():
            _, configs = load(
                path,
                key_specification=head.key_specification,
                head_name=head.head_name,
                config_type_weights=get_config_type_weights(head.config_type_weights),
                no_data_ok=True,
            )
    except Exception as error:  # ASE's readers raise errors of every kind
        read_atoms(path, "pool_file")  # in its words
        raise SettingsError("pool_file", path, str(error) or type(error).__name__) from error
    for number, config in enumerate(configs):
        problem = files.problem_of_config(config, judged)
        if problem:
            raise SettingsError("pool_file", path, f"frame {number} (from 0): {problem}")
        disregard_missing(config)
        yield config


def labels_under_other_keys(atoms: Atoms) -> str:
    """What looks like labels in a frame without known ones, in words; "" if nothing does."""
    calculated = {} if atoms.calc is None else atoms.calc.results
    given = [*atoms.info, *atoms.arrays, *calculated]
    found = dict.fromkeys(
        name for name in given if any(word in name.lower() for word in ("energy", "force"))
    )
    # MACE's weights of a frame say nothing of labels
    return ", ".join(f"'{name}'" for name in found if not name.startswith("config_"))


def is_reference(config: Any) -> bool:
    """Whether it is an isolated atom, which MACE trains no model on."""
    return len(config.atomic_numbers) == 1 and config.config_type == "IsolatedAtom"
