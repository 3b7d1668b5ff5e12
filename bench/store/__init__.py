"""The one owner of paths under results/: atomic records, resume, evidence."""
