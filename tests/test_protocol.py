"""What a choice on record is, and that a damaged one is said to be so."""

import pytest

from rsstudy.errors import StudyError
from rsstudy.protocol import choose
from rsstudy.records import read_choices, read_records


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": []}'])
def test_a_damaged_choice_is_named_in_one_line(text, tmp_path):
    path = tmp_path / "choices" / "a.json"
    path.parent.mkdir()
    path.write_text(text)
    for use in (read_records, read_choices):
        with pytest.raises(StudyError, match="a.json is not a choice"):
            use(tmp_path)
    candidate = {"id": "a", "identity": "0", "validation_scores": {"mean_recall": 1.0},
                 "config": {"recipe": {"learning_rate": 0.1}}, "best_epoch": 1,
                 "status": "validated"}  # fmt: skip
    with pytest.raises(StudyError, match="a.json is not a choice"):
        choose([candidate], path)
