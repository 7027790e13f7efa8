"""What is computed with a model: the only modules that evaluate one."""
