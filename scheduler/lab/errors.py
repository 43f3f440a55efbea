"""The lab's one exception: everything that stops a lab from doing what it was asked."""


class LabError(Exception):
    """The lab cannot do it; the text is one line that names what is wrong and what would help."""
