"""The operator's console: the state of an installation as objects of the tenant `headway`, and actions on it."""
