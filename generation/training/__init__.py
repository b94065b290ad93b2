"""The training worker: takes training jobs, and hands the candidates over. It holds no key."""
