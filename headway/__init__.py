"""The composition root: the `headway` command, which starts, shows and drives an installation."""
