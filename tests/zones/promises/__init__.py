"""What Headway promises, one file each: a function of a history that gives its findings."""
