"""Fuzzing: any input to any parser is accepted, or refused with exactly the documented error, which names the field.

`python -m tests.fuzz` searches for inputs that are not; `test_fuzz.py` is a short search that is the same every time.
"""
