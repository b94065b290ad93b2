"""What `flock doctor` looks at, a file each: the machine, the database, Discord, the services, a worker."""
