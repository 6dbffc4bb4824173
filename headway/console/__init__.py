"""The operator's console: what an installation does, as objects of the tenant `headway`; and what is asked there."""
