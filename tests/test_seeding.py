from galaxy_exp.seeding import derive_seed


def test_the_same_parts_give_the_same_seed_for_ever():
    assert derive_seed(1, "trial", 0) == 1949744561


def test_neighbours_get_unrelated_positive_seeds():
    seeds = [derive_seed(sweep, "trial", trial) for sweep in range(20) for trial in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 < seed < 2**31 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)
