"""The video hosts, which keep videos for everybody to watch: their common interface, Livepeer, and S3 stores."""
