"""What to measure: frozen types, YAML loading, the randomised schedule, presets."""
