"""Damage every format that the library reads, by seeded mutations, and count what becomes of it: a table by format.

    python benchmarks/fuzz.py                                # the short form, a minute
    python benchmarks/fuzz.py --tries 20000                  # the long form
    python benchmarks/fuzz.py --format journal --seed 123    # one try again, with its traceback

Each try runs in a child with limits (Linux only). "own error": UserError, or status 2 and one line of at most 2,000
characters. "accepted": what was given back agrees with what a reader of our own makes of the input, or nothing could be
known. Failures are: any other error ("traceback"); no end within 10 seconds, and when it is tried again alone within 20
("hang"); the end of the process ("crash"); more than 1.5 GB beyond what the process had ("over memory"); a value that
had to be refused, a file that was changed although its content was refused, code that ran, a program that was started,
a server that was asked, a file of somebody else's that was read ("silently accepted"); and characters that a terminal
obeys in a message, in what is printed, in a log, or more than 2,000 of any in a message ("unclean text").
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent/"tests"))
from fuzzing.command import main

if __name__ == "__main__": sys.exit(main(about=__doc__))
