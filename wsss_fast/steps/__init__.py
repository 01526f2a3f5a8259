"""The three steps of the method, one file and one function a command.

Each takes a :class:`wsss_fast.config.Config`, reads what earlier steps wrote under ``config.output`` and
writes its own folder there. A step that was stopped goes on where it was when called again.

Importing any of them without the extra `pipeline` is a ``ModuleNotFoundError`` that says what to install.

In the examples ``config`` is such a config, of generated images and tiny networks, and they are called in the
order of the method; ``grid_config`` is one with a grid of one encoder and one threshold::

    from wsss_fast.config import Config
    from wsss_fast.config_file import build, read_values, recipe

    config = build(Config, read_values(recipe("demo")))
"""

from wsss_fast._extras import need_pipeline

need_pipeline("wsss_fast.steps")
