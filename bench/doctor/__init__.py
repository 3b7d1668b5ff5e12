"""What this machine can measure, and the command for each thing that it cannot. Nothing here changes anything."""
