"""Say in one line that this Python is too old; runs on any Python 3."""

import sys

if sys.version_info < (3, 11):
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit("sngan needs Python 3.11 or newer, this is " + found + "; try make PYTHON=python3.11")
