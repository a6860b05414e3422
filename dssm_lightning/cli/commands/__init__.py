"""One module for each command that is a plain function; the module has the name of the command."""
