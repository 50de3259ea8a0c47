// Some other script in the place of the worker's.
