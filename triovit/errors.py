"""The two kinds of failure: the user's and ours."""


class UserError(Exception):
    """Something the user can mend: a file, a network, an option, a missing tool.

    The message is one line that names the file, the layer (where there is one) and the remedy.
    The command line prints it and exits with code 2.
    """


class InternalError(Exception):
    """A broken promise inside triovit; never the user's fault. Shown with its traceback."""
