"""What can be computed: one file is one workload, or one family of them."""
