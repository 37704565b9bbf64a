"""What all tests share: an interrupt means the same wherever they are started from."""

import signal

# A shell without a terminal starts background commands with SIGINT ignored, and that is inherited: tests that
# interrupt what they started could then never end it.
signal.signal(signal.SIGINT, signal.default_int_handler)
