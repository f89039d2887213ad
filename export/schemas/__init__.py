"""The JSON Schemas of what an export writes; `export/schema.py` reads them."""
