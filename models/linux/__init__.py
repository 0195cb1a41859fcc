"""The PV guest: its memory map, allocator, page-table code and pv-ops."""
