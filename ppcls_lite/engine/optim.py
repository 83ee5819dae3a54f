"""Optimizers and learning-rate schedules from the configuration."""

import paddle
from paddle import nn
from paddle.optimizer import lr as schedules

from ppcls_lite.arch.base import backbone_parameters
from ppcls_lite.config.schema import LearningRate, Optimizer


def scaled_rate(config: LearningRate, global_batch: int) -> float:
    """The peak learning rate for updates from ``global_batch`` images over all processes.

    With ``base_batch_size`` it is proportional to the batch: the linear scaling rule of Goyal et al., "Accurate, Large
    Minibatch SGD", arXiv:1706.02677, section 2.1, which is meant to be used with warm-up.
    """
    return config.learning_rate * (global_batch / config.base_batch_size if config.base_batch_size else 1)


def build_schedule(
    config: LearningRate, peak: float, updates_per_epoch: int, epochs: int
) -> schedules.LRScheduler | float:
    """A Paddle scheduler that is stepped once an update, or a number if the learning rate is constant.

    Warm-up rises linearly from 0 to ``peak``; then the schedule runs until the end of the last epoch.
    """
    warmup = round(config.warmup_epochs * updates_per_epoch)
    after: schedules.LRScheduler | float = peak
    if config.name == "Cosine":
        after = schedules.CosineAnnealingDecay(peak, T_max=max(1, epochs * updates_per_epoch - warmup))
    elif config.name == "Step":
        milestones = [epoch * updates_per_epoch - warmup for epoch in config.decay_epochs]
        after = schedules.MultiStepDecay(peak, milestones, gamma=config.gamma)
    return schedules.LinearWarmup(after, warmup, start_lr=0.0, end_lr=peak) if warmup else after


def build_optimizer(
    config: Optimizer, schedule: schedules.LRScheduler | float, network: nn.Layer
) -> paddle.optimizer.Optimizer:
    """The optimizer of the parameters that are not frozen.

    Batch norm and biases (one dimension) get no weight decay unless ``decay_norm_and_bias``. The learning rate of all
    but the head is multiplied by ``backbone_lr_factor``.
    """
    # Parameter groups would be usual, but Model.fit calls minimize(), which does not support them.
    if config.backbone_lr_factor != 1:
        for p in backbone_parameters(network):
            p.optimize_attr = {"learning_rate": config.backbone_lr_factor}
    params = [p for p in network.parameters() if not p.stop_gradient]
    decayed = [p for p in params if config.decay_norm_and_bias or len(p.shape) > 1]
    names = {p.name for p in decayed}
    if config.name == "AdamW":
        return paddle.optimizer.AdamW(
            schedule,
            parameters=params,
            weight_decay=config.weight_decay,
            apply_decay_param_fun=lambda name: name in names,
        )
    for p in params:
        p.regularizer = None if p.name in names else paddle.regularizer.L2Decay(0.0)
    decay = paddle.regularizer.L2Decay(config.weight_decay) if config.weight_decay else None
    if config.name == "Momentum":
        return paddle.optimizer.Momentum(
            schedule,
            momentum=config.momentum,
            parameters=params,
            use_nesterov=config.use_nesterov,
            weight_decay=decay,
        )
    return paddle.optimizer.Adam(schedule, parameters=params, weight_decay=decay)
