"""`headway doctor`: what is wrong with an installation, and what to do about it.

`collect` looks (I/O), `diagnose` judges what it saw (pure).
"""
