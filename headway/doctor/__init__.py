"""`headway doctor`: finds problems of an installation and suggests fixes.

`collect` gathers facts (I/O); `diagnose` judges them (pure).
"""
