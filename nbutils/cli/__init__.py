"""Groups of commands of the command line, a file each."""
