"""The only door to matplotlib and seaborn: from a comparison to figures on disk."""
