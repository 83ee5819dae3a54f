"""From a configuration to a trained, scored network through ``paddle.Model.fit``."""
