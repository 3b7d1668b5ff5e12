"""The verbs of the command line, and the exit statuses in which they end."""

EXIT_OK = 0
EXIT_FAILURES = 1  # it was done, but something of it failed
EXIT_REFUSED = 2  # nothing was done; the message says what to do
EXIT_INTERRUPTED = 130  # Ctrl-C, as shells say it
