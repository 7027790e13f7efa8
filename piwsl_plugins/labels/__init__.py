"""Hessian labels: their files, their checks, and finding those of a structure."""
