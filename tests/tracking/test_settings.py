"""What the tracking section refuses."""

import pytest

from medseg.tracking.settings import TrackingSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"uri": "https://me:secret@host"}, "without a password"),
        ({"register_as": "a/b"}, "expected a name without"),
        ({"register_as": "liver", "alias": "latest"}, "keeps the alias 'latest' for itself"),
        ({"alias": "champion"}, "alias without register_as"),
        ({"register_as": "liver", "alias": "1st"}, "alias"),
        ({"server": "x"}, "server"),
    ],
)
def test_settings_that_mlflow_could_not_use_are_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackingSettings(**wrong)
