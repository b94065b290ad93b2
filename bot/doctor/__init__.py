"""The checks of `flock doctor`, a file each: the machine, the database, Discord, the services, a worker."""
