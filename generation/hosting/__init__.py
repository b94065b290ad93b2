"""Where videos live so that people can watch them: the host's vocabulary, Livepeer, TUS, and an embedded host."""
