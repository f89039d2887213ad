"""The `sngan` command: puts the packages' sub-commands together. Nothing heavy is imported here."""
