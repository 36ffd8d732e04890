"""What people know, folded in as evidence whose weight was earned."""
