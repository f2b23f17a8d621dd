"""The pictures of the notebooks: each takes data or records and gives one matplotlib figure.

Each carries, as its label, what it shows in words: the text beside the picture in a notebook, and
the alternative text of the picture in the book. There, arms keep the names that tables print.
"""

from study.figures.drawing import in_words, use_style
from study.figures.scores import answer

__all__ = ["answer", "in_words", "use_style"]
