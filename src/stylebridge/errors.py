"""The errors a user can meet. Each message is one sentence that names the file, key or value, and the mend."""


class StylebridgeError(Exception):
    """Base of every error raised on purpose; the command line prints its message without a traceback."""

    exit_code = 1


class UserError(StylebridgeError):
    """What was asked for cannot be done as asked: a path, an option or a value is wrong (exit code 2)."""

    exit_code = 2


class DataError(UserError):
    """An image, a label map or a folder of them is not what it should be."""


class RecipeError(UserError):
    """A recipe has an unknown key or a value out of range."""


class RunError(UserError):
    """A run folder is missing, is in the way, or belongs to another recipe."""


class WeightsError(UserError):
    """Weights cannot be found or do not fit the network."""


class TrainingStopped(StylebridgeError):
    """Training had to stop: a loss or gradient was not finite. The last good checkpoint is whole."""


class CheckpointError(StylebridgeError):
    """A checkpoint could not be written. The previous checkpoint is whole."""
