"""Training with Lightning: the module, its objective, callbacks, optimizers and distributed strategies."""
