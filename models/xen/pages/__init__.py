"""What a page is to Xen: its types and references, and the tables among pages."""
