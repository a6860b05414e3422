"""What Lightning drives: the module, its callbacks, optimizers and processes."""
