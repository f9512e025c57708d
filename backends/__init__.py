"""Where it is computed: one file for each kind of hardware, and in engines/ one for each software."""
