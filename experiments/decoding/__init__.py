"""What a word of the hypervisor's, or a console line, means and what usually causes it."""
