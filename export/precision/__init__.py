"""A generator in fewer bits: converted, compared with float32, and refused where it draws something else."""
