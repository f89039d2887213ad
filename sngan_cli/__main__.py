"""`python -m sngan_cli`: the `sngan` command where the script is not on PATH."""

from sngan_cli.main import main

main()
