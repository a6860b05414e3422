"""Names that a feature cannot have, because it is a key of a torch ``ModuleDict``; known here without torch."""

from __future__ import annotations

MODULE_NAMES = frozenset(
    [
        "T_destination",
        "__contains__",
        "__delitem__",
        "__getattr__",
        "__getitem__",
        "__iter__",
        "__len__",
        "__setitem__",
        "__setstate__",
        "_apply",
        "_call_impl",
        "_compiled_call_impl",
        "_get_backward_hooks",
        "_get_backward_pre_hooks",
        "_get_name",
        "_load_from_state_dict",
        "_maybe_warn_non_full_backward_hook",
        "_named_members",
        "_register_load_state_dict_pre_hook",
        "_register_state_dict_hook",
        "_replicate_for_data_parallel",
        "_save_to_state_dict",
        "_slow_forward",
        "_version",
        "_wrapped_call_impl",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "clear",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "items",
        "keys",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "pop",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "type",
        "update",
        "values",
        "xpu",
        "zero_grad",
    ]
)
"""The attributes of ``torch.nn.ModuleDict`` that other classes do not have."""


class _AnyClass:
    pass


def is_module_name(name: str) -> bool:
    """Return whether ``torch.nn.ModuleDict`` has an attribute of this name.

    Example:
        >>> is_module_name("items"), is_module_name("__class__"), is_module_name("title")
        (True, True, False)
    """
    return name in MODULE_NAMES or hasattr(_AnyClass, name)
