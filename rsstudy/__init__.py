"""rsstudy: a reproducible study of parameter-efficient transfer for remote-sensing retrieval.

Data flows one way through the rooms of this package::

    data -> encoders -> methods -> objectives -> training -> evaluation -> experiments

A module knows only what lies before it.
"""

__version__ = "0.1.0"
