from alexlab.studies.wording import seeds


def test_one_seed_is_singular():
    assert [seeds(n) for n in (0, 1, 5)] == ["0 seeds", "1 seed", "5 seeds"]
