"""Habana's plug-in as far as the engine `habana` uses it, on the CPU: names and calls, no behaviour of the card.

It counts what a card would have to be told, and shows what the engine chose before importing it.
"""

import os

LAZY_MODE = os.environ.get("PT_HPU_LAZY_MODE")
"""What the real plug-in reads when it is imported."""
calls = {"synchronize": 0, "mark_step": 0, "compiled": 0}
