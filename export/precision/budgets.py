"""How far a variant may be from float32. Over budget, it is not written."""

from __future__ import annotations

# Smallest peak signal-to-noise ratio, over the levels of all pictures together, in decibel. Half precision rounds at
# the 11th bit, bfloat16 at the 8th but each value on its own scale, 8-bit integers on one scale for a whole tensor.
FLOAT16_PSNR_DB = 40.0
BFLOAT16_PSNR_DB = 40.0
INT8_PSNR_DB = 35.0
PSNR_BUDGET_DB = {"float16": FLOAT16_PSNR_DB, "bfloat16": BFLOAT16_PSNR_DB, "int8": INT8_PSNR_DB}

# Most that the share of pictures taken for the class asked for may be below float32's: one point of a hundred.
CLASS_AGREEMENT_LOSS = 0.01
