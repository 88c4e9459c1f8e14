"""Check a machine and a home folder for `reviewlm doctor`: nothing is changed and no server is started."""
