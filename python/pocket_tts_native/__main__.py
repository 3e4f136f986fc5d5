"""`python -m pocket_tts_native` is the command `pocket-tts-native`."""

import sys

from pocket_tts_native.cli import main

if __name__ == "__main__":
    sys.exit(main())
