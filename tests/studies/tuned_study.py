"""Define a study with rates to tune, for tests of settings and of tuning."""

STUDY = {
    "question": "?",
    "axes": {"seed": "range(40)", "recipe": "relu, tanh"},
    "recipes": {"relu": {"act": "relu"}, "tanh": {"act": "tanh", "trainer.max_epochs": 150}},
    "published": {"seed": "range(5)"},
    "tuned": {"trainer.max_epochs": 60},
    "tuned_recipes": {"tanh": {"act": "tanh"}},
    "tune": {"optim.lr": "0.01, 0.03, 0.1"},
}
