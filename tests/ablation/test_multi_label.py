"""The protocol multi_label compares networks of equal cost."""

from ppcls_lite.ablation.protocol import load_protocols
from ppcls_lite.measure.complexity import count_macs
from ppcls_lite.tasks.network import build_network


def test_all_but_the_octave_network_have_equal_multiply_adds():
    (protocol,) = load_protocols("multi_label")
    macs = {}
    for name, arm in protocol.arms.items():
        setup = arm.load()
        macs[name] = count_macs(build_network(setup), setup.input_size, setup.channels)
    octave = macs.pop("octresnet20_x0.5")
    assert max(macs.values()) <= 1.05 * min(macs.values()) and octave < min(macs.values())
