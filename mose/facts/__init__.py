"""Facts and edit requests: the forms they come in, and how they are drawn."""
