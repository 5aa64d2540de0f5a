"""Makes the files of a release: dev/release runs these, and the scripts beside them."""
