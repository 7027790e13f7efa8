"""The labels of a file, and how many of them belong to the structures of a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..errors import SettingsError
from ..frames.structure import Structure
from ..options.settings import Hessian
from .hessian_checks import problem_of, units_problem_of
from .hessian_labels import HessianLabel, check_labels, read_labels
from .hessian_lookup import HessianLabels

#: reasons for near misses that a log line names
N_REASONS = 3


def matched_labels(
    options: Hessian,
    option: str,
    structures: Iterable[Structure],
    pool: Iterable[Structure] = (),
    others: Iterable[Structure] = (),
    given: Sequence[HessianLabel] | None = None,
) -> tuple[HessianLabels, str]:
    """The labels of a file, of which at least one belongs to a structure.

    Args:
        options: name the file.
        option: which one, "hessian_file" or "hessian_valid_file".
        structures: of the training, or validation, data that may have labels.
        pool: those beside the training set, which may have labels as well.
        others: of the same data, whose level of theory is not that of the labels.
        given: labels in place of those of the file; the option then says where they come from.

    Returns:
        the labels, and what was found, for the log.

    Raises:
        SettingsError: naming the option, for a file that cannot be used or matches no structure.
    """
    path = getattr(options, option)

    def check(index: int, label: HessianLabel) -> None:
        check_label(options, index, label)
        problem = problem_of(label, options.hessian_tolerance)
        if problem:
            raise SettingsError(option, path, f"label {index} (from 0): {problem}")

    if given is None:
        given = read_labels(path, option, check)
    else:
        check_labels(given, path, option, check)
    in_other_units = units_problem_of(given)
    if in_other_units is not None:
        number, problem = in_other_units
        raise SettingsError(option, path, f"label {number} (from 0): {problem}")
    labels = HessianLabels(given)
    split = "training" if option == "hessian_file" else "validation"
    matches = _Matches(labels)
    n_found, n = matches.count(structures)
    n_found_pool, n_pool = matches.count(pool)
    matches.count_others(others)
    if n and not n_found + n_found_pool:
        raise SettingsError(
            option,
            path,
            f"none of its {len(labels)} labels belongs to one of the {n + n_pool} {split} "
            "structures (the same atoms in the same order, positions within 0.001 Å of those that "
            "the model is given, the same cell, charge and spin)"
            f"{matches.near_misses(split)}; make labels for the {split} data with 'piwsl hessian'",
        )
    for number in matches.repeated:
        contradiction = labels.contradiction(number)
        if contradiction is not None:
            other, reason = contradiction
            raise SettingsError(
                option,
                path,
                f"labels {number} and {other} (from 0) are of one structure, and {reason}; leave "
                "out the one that is not of the method of your training data",
            )
    of_pool = f", and for {n_found_pool} of {n_pool} of the pool" if n_pool else ""
    found = f"PIWSL: Hessian labels for {n_found} of {n} {split} structures{of_pool}"
    return labels, f"{found}; {matches.summary}{matches.near_misses(split)}"


class _Matches:
    """Which labels have been found, and which almost.

    Attributes:
        repeated: numbers of found labels whose structure other labels have as well.
    """

    def __init__(self, labels: HessianLabels) -> None:
        self._index = labels.index
        self._used: Counter[int] = Counter()
        self.repeated: list[int] = []
        self._unmatched: list[Structure] = []
        self._of_others: dict[int, str] = {}

    def count(self, structures: Iterable[Structure]) -> tuple[int, int]:
        """How many structures have a label, of how many."""
        n_found = n = 0
        for structure in structures:
            number = self._index.find(structure)
            if number is None:
                self._unmatched.append(structure)
            else:
                self._used[number] += 1
                copies = self._index.copies(number) if self._used[number] == 1 else []
                if copies:
                    self._used |= dict.fromkeys(copies, 1)
                    self.repeated.append(number)
                n_found += 1
            n += 1
        return n_found, n

    def count_others(self, structures: Iterable[Structure]) -> None:
        """Take note of structures of another level of theory."""
        for structure in structures:
            number = self._index.find(structure)
            if number is not None:
                level = f" ({structure.level})" if structure.level else ""
                self._of_others.setdefault(number, f"another level of theory{level}")

    @property
    def summary(self) -> str:
        """How many labels are used, in words."""
        n, n_used = len(self._index), len(self._used)
        words = f"{n_used} of {n} labels are used, {n - n_used} belong to none of them"
        if n_used == n:
            words = f"all {n} labels are used" if n > 1 else "the one label is used"
        n_shared = sum(count > 1 for count in self._used.values())
        if n_shared:
            words += (
                f"; WARNING: {n_shared} of them belong to several structures each, which are the "
                "same; if their other labels are of several methods, say which one Hessians are of"
            )
        return words

    def near_misses(self, split: str) -> str:
        """The unused labels that have the geometry of a structure, in words."""
        n_unused = len(self._index) - len(self._used)
        near: dict[int, str] = {}
        for structure in self._unmatched if n_unused else ():
            for number, reason in self._index.near_misses(structure).items():
                near.setdefault(number, reason)
        near = {**self._of_others, **near}
        reasons = Counter(reason for number, reason in near.items() if number not in self._used)
        return "".join(
            f"; {n} {'labels have' if n > 1 else 'label has'} the geometry of a {split} frame, and "
            f"{reason}"
            for reason, n in reasons.most_common(N_REASONS)
        )


def check_label(options: Hessian, index: int, label: HessianLabel) -> None:
    """Refuse a label that the form cannot be compared with.

    Args:
        options: ``hessian_form`` is used.
        index: number of the label in its file.
        label: the label.

    Raises:
        SettingsError: naming ``hessian_form``.
    """
    of_energies = label.hessian is None and label.force_changes is None
    if of_energies and options.hessian_form != "energies":
        raise SettingsError(
            "hessian_form",
            options.hessian_form,
            f"Hessian label {index} (from 0) has probes of energies alone; choose 'energies', or "
            "make labels of forces with 'piwsl hessian'",
        )
