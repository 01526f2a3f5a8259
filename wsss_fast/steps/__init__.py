"""The three steps of the method, one file and one function a command.

Each takes a :class:`wsss_fast.config.Config`, reads what earlier steps wrote under ``config.output`` and
writes its own folder there. A step that was stopped goes on where it was when called again.

Importing any of them without the extra `pipeline` is a ``ModuleNotFoundError`` that says what to install.
"""

from wsss_fast._extras import need_pipeline

need_pipeline("wsss_fast.steps")
