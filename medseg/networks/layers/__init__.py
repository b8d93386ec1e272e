"""What several architectures share: blocks, heads, resizing, dilation that fits a patch."""
