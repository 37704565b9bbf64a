import pytest
import torch

from nanochat.speed import Speed, peak_flops


class Clock:
    def __init__(self):
        self.now = 10.0

    def __call__(self):
        return self.now


def test_a_rate_is_tokens_by_the_time_that_training_took():
    clock = Clock()
    speed = Speed(1_000, 1e6, clock)
    speed.add(200)
    clock.now += 3.0
    speed.leave_out(1.0)
    assert speed.look() == pytest.approx((100.0, 0.1))
    speed.add(30)
    clock.now += 0.5
    assert speed.look() == pytest.approx((60.0, 0.06))


def test_a_device_without_a_known_peak_has_no_share_of_it():
    clock = Clock()
    speed = Speed(1_000, peak_flops(torch.device("cpu")), clock)
    clock.now += 1.0
    assert speed.look() == (0.0, None)
