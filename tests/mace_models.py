"""MACE models that are built once in a process: building one takes a second, copying it a tenth."""

import copy
import functools
import pickle

import torch
from mace import modules

_built = {}


def build_once(kind, **config):
    """A model of this class, as its constructor would make it at this state of torch.

    What the constructor does to torch's random numbers is done here, too.
    """
    state = torch.get_rng_state()
    key = pickle.dumps((kind, config, torch.get_default_dtype(), state.numpy()))
    if key not in _built:
        _built[key] = kind(**config), torch.get_rng_state()
    model, state = _built[key]
    torch.set_rng_state(state)
    return copy.deepcopy(model)


class ModelsBuiltOnce:
    """``mace.modules`` as MACE's trainer sees it in this process."""

    def __getattr__(self, name):
        found = getattr(modules, name)
        is_model = isinstance(found, type) and issubclass(found, modules.MACE)
        return functools.partial(build_once, found) if is_model else found
