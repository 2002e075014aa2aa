"""Tools for operators. The command line and the processes of the service use them."""
